"""Worklist items that come and go as data sets: folders of files, and other worklists.

- items.py reads a data set, mapping.py makes of it what an order message would be.
- importing.py brings in a folder as DCMTK's wlmscpfs and Orthanc keep it.
"""

from mwl.wlfiles.importing import Report, check_folder, count_files, import_folder

__all__ = ["Report", "check_folder", "count_files", "import_folder"]
