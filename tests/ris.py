"""A RIS that sends one message after the other, for tests of what they do to rows.

ris = Ris(database)
assert ris.send(orm) == ("AA",)                     # MSA-1, and ERR-3 of what is no AA
ris.send(adt, "A02", at=5, PV1_3="WARD1")           # as if sent in minute 5, whenever it comes
assert ris.one("scheduled_step")["state"] == "SCHEDULED"
"""

from datetime import UTC, datetime

from hl7 import profile
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 2, 7, 0, tzinfo=UTC)


class Ris:
    """Sends messages a minute apart, and reads what they did."""

    def __init__(self, database, by=None):
        self.database = database
        self.minute = 0
        given = profile.parse(by, "test.toml") if by else profile.load(DEFAULT)
        self.inbound = Inbound(database, Profiles.single(given, BERLIN), clock=lambda: NOW)

    def send(self, build, *args, **fields):
        """Give MSA-1, and the first ERR-3 of what is no AA."""
        self.minute += 1
        at = fields.pop("at", self.minute)
        text = build(*args, MSH_7=f"2030010206{at:02}00", **fields)
        answer = Message.parse(self.inbound.receive(text.encode(), "127.0.0.1:1").decode())
        return answer.text("MSA-1"), *(str(err.get(3)) for err in answer.all("ERR")[:1])

    def rows(self, table):
        with self.database.read() as session:
            found = session.connection().exec_driver_sql(f"SELECT * FROM {table} ORDER BY id")
            return [dict(row) for row in found.mappings()]

    def one(self, table):
        (row,) = self.rows(table)
        return row

    def last(self):
        return self.rows("message")[-1]


def second(number, **fields):
    """Give the fields of another order of Jane Doe's."""
    numbers = dict.fromkeys(("ORC_3", "OBR_3"), f"FO{number}^RIS")
    numbers |= dict.fromkeys(("ORC_2", "OBR_2"), f"PO{number}^RIS")
    made = {"OBR_18": f"ACC{number}", "OBR_19": f"RP{number}", "OBR_20": f"S{number}"}
    return {**numbers, **made, "ZDS_1": f"1.2.3.{number}", **fields}
