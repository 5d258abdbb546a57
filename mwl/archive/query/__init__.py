"""Find what the archive holds: patients, studies, series, instances, and where their bytes are.

The rules that this package bears (PS3.4 C.2.2.2, C.3.4, C.4.1):

1. Only what is served is found: of an instance's objects one is at most, and a quarantined
   one is nobody's but a person's. What has nothing else is not found, nor is it counted.
2. A level's rows tell what lies above too; the keys of higher levels narrow it down. Keys of
   lower levels are met by one and the same series or instance below.
3. Date and time are matched apart unless they are asked for as one instant; a time by its
   first six digits, whatever was sent.
4. A patient is an identifier with its issuer. Who has no identifier is no patient: such
   studies are found at their own level.
5. A page is one short read; the next one opens another, so that no read waits for a network.

Start reading at finding.py; columns.py says what there is to tell and to match by,
conditions.py what keys become, objects.py where the bytes are.
"""

from mwl.archive.query.columns import REQUEST, level_of
from mwl.archive.query.finding import Page, find, pages
from mwl.archive.query.model import UNIQUE_KEYS, Level, Query, Row
from mwl.archive.query.objects import PAGE_ROWS, Kind, Stored, kinds, objects, uid_lists

__all__ = [
    "PAGE_ROWS",
    "REQUEST",
    "UNIQUE_KEYS",
    "Kind",
    "Level",
    "Page",
    "Query",
    "Row",
    "Stored",
    "find",
    "kinds",
    "level_of",
    "objects",
    "pages",
    "uid_lists",
]
