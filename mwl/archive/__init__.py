"""The archive's index: what is stored, which order it belongs to, and what is found in it.

Start reading at store.py; fresh.py is the usual case of it, versions.py what happens when
an instance is known, linking.py how studies find their orders, following.py how they follow
their patients, query/ what is found. The bytes themselves are in the object store; here are
their keys.
"""

from mwl.archive.by_hand import Linked, link, unlink
from mwl.archive.linking import link_unmatched
from mwl.archive.listing import quarantined, studies
from mwl.archive.received import Received, Stored, is_uid
from mwl.archive.store import store
from mwl.archive.versions import IS_QUARANTINED
from mwl.studies import Outcome

__all__ = [
    "IS_QUARANTINED",
    "Linked",
    "Outcome",
    "Received",
    "Stored",
    "is_uid",
    "link",
    "link_unmatched",
    "quarantined",
    "store",
    "studies",
    "unlink",
]
