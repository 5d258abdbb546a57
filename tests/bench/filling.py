"""Tables of millions of rows for benchmarks, filled by the database itself.

A table's columns are given as SQL about `n`, the number of the row, in which {words} stand for
what each dialect says in its own way; what is not given says nothing.
"""

from collections.abc import Mapping

from sqlmodel import SQLModel

from mwl.db import Database
from mwl.db.types import UtcDateTime
from tests.bench.bench_index import WORDS, execute

Columns = Mapping[str, str]
Words = Mapping[str, str]

_CHUNK = 250_000  # rows of one transaction


def fill(
    database: Database, tables: Mapping[str, tuple[Columns, int]], words: Words, *bulky: str
) -> None:
    """Insert so many rows into each table, in their order, numbered from 1.

    The indexes of the `bulky` ones are taken away meanwhile: an index is made of rows that
    are there in a fraction of the time that each row takes.
    """
    indexes = [sql for table in bulky for sql in _take_indexes(database, table)]
    for table, (columns, count) in tables.items():
        for first in range(1, count + 1, _CHUNK):
            last = min(first + _CHUNK - 1, count)
            _insert(database, table, columns, words, first, last)
        if database.dialect == "postgresql" and "id" in SQLModel.metadata.tables[table].c:
            execute(database, f"SELECT setval('{table}_id_seq', {count})")
    for sql in indexes:
        execute(database, sql)
    execute(database, "ANALYZE")


def _take_indexes(database: Database, table: str) -> list[str]:
    """Drop the indexes of a table that are no constraints; give what makes them again."""
    asked = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
        f" AND tbl_name = '{table}' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes AS i"
        f" WHERE tablename = '{table}' AND NOT EXISTS"
        " (SELECT FROM pg_constraint WHERE conname = i.indexname)",
    }[database.dialect]
    with database.read() as session:
        found = session.connection().exec_driver_sql(asked).all()
    for name, _ in found:
        execute(database, f"DROP INDEX {name}")
    return [sql for _, sql in found]


def _insert(
    database: Database, table: str, columns: Columns, words: Words, first: int, last: int
) -> None:
    dialect = database.dialect
    values = {**_blanks(table, dialect), **columns}
    if "id" in SQLModel.metadata.tables[table].c:
        values["id"] = "n"
    for _ in range(2):  # what a word says has words in it
        values = {name: _filled(value, words) for name, value in values.items()}
    numbers = WORDS[dialect]["numbers"].format(count=last - first + 1)
    source = f"{numbers} AS s" if dialect == "sqlite" else numbers
    execute(
        database,
        f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM (SELECT n + {first - 1} AS n FROM {source}) AS numbered",
    )


def _filled(value: str, words: Words) -> str:
    for word, said in words.items():
        value = value.replace("{" + word + "}", said)
    return value


def _blanks(table: str, dialect: str) -> dict[str, str]:
    """Give what stands in the columns that say nothing."""
    cast = "::jsonb" if dialect == "postgresql" else ""
    empty = {"JSON": f"'{{}}'{cast}", "INTEGER": "0", "BIGINT": "0", "BOOLEAN": "false"}
    found = {}
    for column in SQLModel.metadata.tables[table].c:
        if column.name in {"flags", "other_ids", "former_names"}:
            found[column.name] = f"'[]'{cast}"
        elif isinstance(column.type, UtcDateTime):
            found[column.name] = "NULL" if column.nullable else "{now}"
        elif not column.nullable:
            found[column.name] = empty.get(str(column.type), "''")
    return found
