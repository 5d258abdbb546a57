"""The database: tables, sessions, the write gate, migrations.

Start reading at database.py; group.py is how SQLite is written, transactions.py and
pipeline.py how PostgreSQL is.
"""

from mwl.db.database import Database
from mwl.db.insertion import Insertion
from mwl.db.maintenance import optimize, reusable_bytes
from mwl.db.prepared import Prepared, Reply, rewriting
from mwl.db.savepoint import Savepoint

__all__ = [
    "Database",
    "Insertion",
    "Prepared",
    "Reply",
    "Savepoint",
    "optimize",
    "reusable_bytes",
    "rewriting",
]
