"""Worklist items that come and go as data sets: folders of files, and other worklists.

- items.py reads a data set, mapping.py makes of it what an order message would be.
- importing.py brings in a folder as DCMTK's wlmscpfs and Orthanc keep it, or a file of CSV.
- exporting.py keeps such a folder; writing.py makes its files, disk.py puts them there.
- fetching.py brings in another server's worklist; vanishing.py sees what has left it.
"""

from mwl.wlfiles.importing import (
    Report,
    bring,
    count_files,
    import_folder,
    read_folder,
    read_sheet,
    rehearse,
)

__all__ = [
    "Report",
    "bring",
    "count_files",
    "import_folder",
    "read_folder",
    "read_sheet",
    "rehearse",
]
