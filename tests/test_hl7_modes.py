"""Original and enhanced acknowledgement mode: MSH-15 × MSH-16 × what became of the message."""

from datetime import UTC, datetime

import pytest

from hl7 import mllp, profile
from hl7.er7 import Message
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import worklist
from tests.builders import orm
from tests.hl7_mapping import BERLIN, DEFAULT

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
GOOD, FAULTY, FOREIGN = {}, {"PID_3": None}, {"MSH_9": "MDM^T02"}  # AA; AE 101; AR 200

# MSH-15, MSH-16: answers to a message that is taken, at fault, of a type not taken here.
TABLE = {
    ("", ""): ("AA", "AE", "AR"),
    ("AL", "NE"): ("CA", "CE", "CR"),
    ("AL", ""): ("CA", "CE", "CR"),
    ("AL", "AL"): ("CA AA", "CA AE", "CR"),
    ("AL", "ER"): ("CA", "CA AE", "CR"),
    ("AL", "SU"): ("CA AA", "CE", "CR"),
    ("NE", "AL"): ("AA", "AE", "AR"),
    ("", "AL"): ("AA", "AE", "AR"),
    ("NE", "ER"): ("", "AE", "AR"),
    ("NE", "SU"): ("AA", "", ""),
    ("NE", "NE"): ("", "", ""),
    ("ER", "NE"): ("", "CE", "CR"),
    ("ER", "AL"): ("AA", "AE", "CR"),
    ("ER", "ER"): ("", "AE", "CR"),
    ("SU", "NE"): ("CA", "", ""),
    ("SU", "AL"): ("CA AA", "CA AE", "AR"),
    ("SU", "ER"): ("CA", "CA AE", "AR"),
    ("SU", "SU"): ("CA AA", "", ""),
    ("al", " ne "): ("CA", "CE", "CR"),
    ("Y", "N"): ("AA", "AE", "AR"),  # no codes of table 0155: original mode
    ('""', '""'): ("AA", "AE", "AR"),
}


def inbound(database, **options) -> Inbound:
    profiles = Profiles.single(profile.load(DEFAULT), BERLIN)
    return Inbound(database, profiles, clock=lambda: NOW, **options)


def sent(way_in: Inbound, raw: str | bytes, listener: str = "") -> list[Message]:
    answer = way_in.receive(raw if isinstance(raw, bytes) else raw.encode(), "peer", listener)
    assert answer is not None
    frames = mllp.Framer(100_000).feed(mllp.frame(answer))
    return [Message.parse(each.decode()) for each in frames]


def codes(answers: list[Message]) -> str:
    return " ".join(each.text("MSA-1") for each in answers)


def rows(database) -> list[dict]:
    with database.read() as session:
        found = session.connection().exec_driver_sql("SELECT * FROM message ORDER BY 1")
        return [dict(row) for row in found.mappings()]


@pytest.mark.parametrize(("accept", "application"), TABLE)
def test_the_sender_gets_the_acknowledgements_that_it_asks_for(
    sqlite_database, accept, application
):
    way_in = inbound(sqlite_database)
    got = [
        codes(sent(way_in, orm(MSH_15=accept, MSH_16=application, MSH_10=name, **fields)))
        for name, fields in (("G", GOOD), ("F", FAULTY), ("T", FOREIGN))
    ]
    assert tuple(got) == TABLE[accept, application]
    # Whatever was said, the journal has what became of each.
    kept = [(row["control_id"], row["state"], row["ack_code"]) for row in rows(sqlite_database)]
    assert kept == [("G", "applied", "AA"), ("F", "rejected", "AE"), ("T", "rejected", "AR")]


def test_each_answer_is_a_message_of_its_own_and_the_last_names_the_faults(sqlite_database):
    text = orm(MSH_15="AL", MSH_16="AL", MSH_10="77", PID_3=None)
    first, second = sent(inbound(sqlite_database), text)
    assert [first.text("MSA-2"), second.text("MSA-2")] == ["77", "77"]
    assert first.text("MSH-10") != second.text("MSH-10")
    assert not first.all("ERR")
    assert second.text("ERR-3") == "101"
    # 2.9.3.2: it is not to be acknowledged itself.
    assert (second.text("MSH-15"), second.text("MSH-16")) == ("NE", "NE")
    assert (first.text("MSH-15"), first.text("MSH-16")) == ("", "")
    (refused,) = sent(inbound(sqlite_database), orm(MSH_15="AL", MSH_16="NE", PID_3=None))
    assert (refused.text("MSA-1"), refused.text("ERR-3")) == ("CE", "101")


def test_a_repeat_gets_the_same_answers_again(database):
    for mode, expected in ((("AL", "AL"), "CA AA"), (("AL", "NE"), "CA"), (("NE", "NE"), "")):
        way_in = inbound(database)
        raw = orm(MSH_15=mode[0], MSH_16=mode[1], MSH_10="".join(mode)).encode()
        first = way_in.receive(raw, "peer")
        assert codes(sent(way_in, raw)) == expected
        assert way_in.receive(raw, "peer") == first
    assert [row["repeats"] for row in rows(database)] == [2, 2, 2]


def test_a_fault_that_nobody_is_told_of_is_flagged(sqlite_database):
    sent(inbound(sqlite_database), orm(MSH_15="NE", MSH_16="NE", PID_3=None))
    (row,) = rows(sqlite_database)
    assert "its sender asked for no answer" in row["flags"]


def test_a_defect_of_ours_is_told_by_ce_where_that_is_all_that_is_asked_for(
    sqlite_database, monkeypatch
):
    monkeypatch.setattr(worklist, "apply", lambda *_, **__: 1 / 0)
    (answer,) = sent(inbound(sqlite_database), orm(MSH_15="AL", MSH_16="NE"))
    assert (answer.text("MSA-1"), answer.text("ERR-3")) == ("CE", "207")
    assert rows(sqlite_database)[0]["state"] == "failed"


@pytest.mark.parametrize("kind", ["ACK", "ACK^O01^ACK", "MCF"])
@pytest.mark.parametrize("listener", ["", "old"])
def test_an_acknowledgement_is_never_acknowledged(sqlite_database, kind, listener):
    """A RIS that answers later, by a message to our port, is noted, and no answer goes back."""
    text = f"MSH|^~\\&|RIS|HOSPITAL|||20300101||{kind}|9|P|2.5.1|||AL|AL\rMSA|AE|1|no\r"
    way_in = inbound(sqlite_database, original_mode={"old"})
    assert way_in.receive(text.encode(), "peer", listener) == b""
    (row,) = rows(sqlite_database)
    assert row["state"] == "noted"
    assert "an acknowledgement (AE): read on" in row["flags"]


def test_a_listener_may_be_told_to_answer_in_original_mode_alone(sqlite_database):
    way_in = inbound(sqlite_database, original_mode={"old"})
    text = orm(MSH_15="AL", MSH_16="NE")
    assert codes(sent(way_in, text, "old")) == "AA"
    assert codes(sent(way_in, text.replace("ACC1", "ACC2"), "new")) == "CA"
    assert codes(sent(way_in, text.replace("|AL|NE", "|NE|NE"), "old")) == "AA"


@pytest.mark.parametrize(
    ("version", "type_sent", "err"),
    [
        ("2.1", "ACK", 1),
        ("2.2", "ACK", 1),
        ("2.3", "ACK", 1),
        ("2.3.1", "ACK^O01^ACK", 1),
        ("2.4", "ACK^O01^ACK", 1),
        ("2.5", "ACK^O01^ACK", 3),
        ("2.5.1", "ACK^O01^ACK", 3),
        ("2.6", "ACK^O01^ACK", 3),
        ("2.7", "ACK^O01^ACK", 3),
        ("2.7.1", "ACK^O01^ACK", 3),
        ("2.8", "ACK^O01^ACK", 3),
        ("2.8.2", "ACK^O01^ACK", 3),
        ("2.5.1^DEU", "ACK^O01^ACK", 3),
        ("two", "ACK^O01^ACK", 3),
        ("999.999.9999999", "ACK^O01^ACK", 3),
        ("", "ACK^O01^ACK", 3),
    ],
)
def test_whatever_msh_12_says_is_taken_and_answered_in_that_version(
    sqlite_database, version, type_sent, err
):
    way_in = inbound(sqlite_database)
    (well,) = sent(way_in, orm(MSH_12=version, MSH_10="W"))
    assert well.text("MSA-1") == "AA"
    assert well.header.raw(12) == (version or "2.5.1")
    assert well.header.raw(9) == type_sent
    (bad,) = sent(way_in, orm(MSH_12=version, MSH_10="B", PID_3=None))
    (told,) = bad.all("ERR")
    assert bad.text("MSA-1") == "AE"
    assert "101" in told.raw(err)
