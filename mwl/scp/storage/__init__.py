"""Storage (PS3.4 annex B) as SCP: instances come in and are kept as they came.

Start reading at service.py, which answers; incoming.py takes one data set as it comes, with
header.py, which finds in it what the index needs, and part10.py, which makes it a file.
syntaxes.py lists what is taken in.
"""

from mwl.scp.storage.service import StorageService

__all__ = ["StorageService"]
