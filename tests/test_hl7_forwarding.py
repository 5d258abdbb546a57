"""Messages that came in are forwarded to other systems as they came."""

import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from hl7 import er7, mllp, profile
from hl7.inbound import Inbound
from hl7.intake import Intake
from hl7.outbound import Forwarder
from hl7.profiles import Profiles
from hl7.replay import Replay
from mwl import outbox, story
from mwl.audit import Actor
from mwl.config import Close, Journal, load
from mwl.config import Forward as Table
from mwl.errors import ConfigError, Rejected
from mwl.journal import Overrides
from mwl.outbox import Forwards, Kind
from tests.builders import adt_a08, orm
from tests.feeding import DELIVERY, MESSAGE
from tests.hl7_mapping import BERLIN, DEFAULT, document
from tests.mllp_peer import AE, LOCKED, Ris, silence
from tests.serving import Serving

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PATIENCE_S = 30.0


class Way:
    """The way in, with systems that messages are forwarded to."""

    def __init__(self, database, *tables, document=None):
        self.database, self.now = database, NOW
        read = profile.parse(document, "x") if document else profile.load(DEFAULT)
        self.profiles = Profiles.single(read, BERLIN)
        self.forwards = Forwards.of(tables)
        self._inbound = Inbound(
            database, self.profiles, forwards=self.forwards, clock=lambda: self.now
        )

    def send(self, message, listener=""):
        """Take a message; give MSA-1."""
        raw = message if isinstance(message, bytes) else message.encode()
        self.now += timedelta(seconds=1)
        answer = self._inbound.receive(raw, "127.0.0.1:1", listener)
        return er7.Message.parse(answer.decode()).text("MSA-1")

    def rows(self, table=DELIVERY):
        with self.database.read() as session:
            return session.connection().execute(select(table).order_by(table.c.id)).all()


def to(name="his", **more):
    return Table(name=name, host="127.0.0.1", port=1, **more)


@pytest.mark.parametrize(
    ("table", "type_", "source", "listener", "applied", "wanted"),
    [
        ({}, "ADT^A08", "RIS^H", "", True, True),
        ({"types": ["ADT^*"]}, "ADT^A08", "RIS^H", "", True, True),
        ({"types": ["ADT^*"]}, "ORM^O01", "RIS^H", "", True, False),
        ({"types": ["ADT^*", "ORM^O01"]}, "ORM^O01", "RIS^H", "", True, True),
        ({"types": ["ADT"]}, "ADT^A08", "RIS^H", "", True, False),
        ({"sources": ["RIS^*"]}, "ADT^A08", "RIS^H", "", True, True),
        ({"sources": ["HIS^*"]}, "ADT^A08", "RIS^H", "", True, False),
        ({"listeners": ["east"]}, "ADT^A08", "RIS^H", "east", True, True),
        ({"listeners": ["east"]}, "ADT^A08", "RIS^H", "", True, False),
        ({"listeners": [""]}, "ADT^A08", "RIS^H", "", True, True),
        ({"outcome": "applied"}, "ADT^A08", "RIS^H", "", False, False),
        ({"outcome": "accepted"}, "ADT^A08", "RIS^H", "", False, True),
        # Never back to where it came from.
        ({"application": "RIS", "facility": "H"}, "ADT^A08", "RIS^H", "", True, False),
        ({"application": "RIS"}, "ADT^A08", "RIS^H", "", True, False),
        ({"application": "RIS^1.2^ISO"}, "ADT^A08", "RIS^H", "", True, False),
        ({"application": "RIS", "facility": "X"}, "ADT^A08", "RIS^H", "", True, True),
    ],
)
def test_a_system_is_sent_what_it_asks_for(table, type_, source, listener, applied, wanted):
    (forward,) = Forwards.of([to(**table)]).all
    assert forward.wants(type_, source, listener, applied=applied) == wanted


def test_what_is_accepted_is_queued_as_it_came(database):
    way = Way(database, to("his", types=["ADT^*"]), to("ris2", sources=["RIS^*"]))
    raw = orm(MSH_18="8859/1", PID_5="Müller^Jürgen").encode("latin-1")
    assert way.send(raw) == "AA"
    assert way.send(adt_a08(MSH_10="A1")) == "AA"
    first, *others = way.rows()
    assert (first.kind, first.destination, first.subject) == (Kind.FORWARD, "ris2", "order:1")
    assert (first.body, first.payload["event"]) == (raw, "ORM^O01")
    assert [(row.destination, row.control_id, row.subject) for row in others] == [
        ("his", "A1", "patient:1"),
        ("ris2", "A1", "patient:1"),
    ]


def test_nothing_is_queued_of_what_is_refused_or_came_before(database):
    way = Way(database, to())
    text = orm()
    assert [way.send(text), way.send(text), way.send(orm(PID_3=None))] == ["AA", "AA", "AE"]
    assert way.send(orm(MSH_9="XYZ^Z99")) == "AR"
    assert len(way.rows()) == 1
    assert len(way.rows(MESSAGE)) == 3


def test_only_what_is_applied_if_that_is_asked_for(sqlite_database):
    way = Way(sqlite_database, to("all"), to("some", outcome="applied"))
    way.send(orm(MSH_7="20250601120000"))
    way.send(orm(MSH_7="20250101120000"))  # older: stale
    assert [row.destination for row in way.rows()] == ["all", "some", "all"]


def test_who_is_meant_is_written_anew_where_that_is_asked_for(sqlite_database):
    way = Way(sqlite_database, to(application="HIS^1.2.3^ISO", facility="A&E"))
    texts = [
        orm(MSH_10="1").encode(),
        b"\xef\xbb\xbf" + orm(MSH_10="2").replace("\r", "\n").encode(),
        orm(MSH_10="3").replace("|", "#").replace("^", "*").replace("~\\&", "~\\&").encode(),
    ]
    for text in texts:
        assert way.send(text) == "AA"
    for text, row in zip(texts, way.rows(), strict=True):
        plain = text.removeprefix(b"\xef\xbb\xbf").decode()
        before, after = er7.Message.parse(plain), er7.header(row.body)
        assert [after.get(place) for place in ("MSH-5.1", "MSH-5.2", "MSH-5.3", "MSH-6")] == [
            *("HIS", "1.2.3", "ISO", "A&E")
        ]
        same = ("MSH-3", "MSH-4", "MSH-7", "MSH-9", "MSH-10", "MSH-11", "MSH-12")
        assert [after.get(place) for place in same] == [before.get(place) for place in same]
        end = b"\n" if b"\n" in text else b"\r"
        assert row.body.partition(end)[2] == text.partition(end)[2]


def test_what_goes_in_circles_stops(database):
    way = Way(database, to())
    for number in range(8):  # a system that sends us back, under its own name, what it hears
        text = adt_a08(MSH_3=f"ECHO{number % 2}", MSH_10=f"E{number}")
        assert way.send(text) == "AA"
    assert len(way.rows()) == 3
    assert ["circles" in str(row.flags) for row in way.rows(MESSAGE)] == [False] * 3 + [True] * 5
    way.send(adt_a08(PID_7="19700101", MSH_10="other"))
    way.now += timedelta(minutes=11)
    way.send(adt_a08(MSH_10="later"))
    assert [row.control_id for row in way.rows()][3:] == ["other", "later"]


def test_a_replay_is_forwarded_if_it_is_accepted_for_the_first_time(sqlite_database):
    strict = document(message={"processing_ids": ["P"]})
    way = Way(sqlite_database, to(), document=strict)
    assert way.send(orm(MSH_11="T")) == "AR"
    assert way.rows() == []
    mended = profile.parse(document(message={"processing_ids": ["P", "T"]}), "x")
    intake = Intake(Profiles.single(mended, BERLIN), forwards=way.forwards)
    replay, who = Replay(sqlite_database, intake), Actor("admin")
    replay(1, who, Overrides(), now=NOW + timedelta(minutes=1))
    assert len(way.rows()) == 1
    with pytest.raises(Rejected):
        replay(1, who, Overrides(), now=NOW + timedelta(minutes=2))
    replay(1, who, Overrides(accepted=True), now=NOW + timedelta(minutes=3))
    assert len(way.rows()) == 1


@contextmanager
def forwarding(database, **rises):
    tables = [
        Table(name=name, host="127.0.0.1", port=ris.port, ack_timeout_s=2)
        for name, ris in rises.items()
    ]
    forwarder = Forwarder(tables)
    courier = outbox.Courier(database, {Kind.FORWARD: forwarder.deliver}, look_s=0.02, lease_s=1)
    courier.start()
    try:
        yield
    finally:
        courier.stop(10)
        forwarder.close()


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def states(way):
    return [row.state for row in way.rows()]


def test_they_arrive_as_they_came_and_in_order(database, monkeypatch):
    monkeypatch.setattr("mwl.outbox.courier.backoff_s", lambda attempts: 0.05)
    way = Way(database, to("his"))
    texts = [
        adt_a08(PID_3=f"P{n}^^^ADT1", MSH_10=f"F{n}", PID_5=f"Bj\xf6rk^{n}").encode("latin-1")
        for n in range(6)
    ]
    for text in texts:
        assert way.send(text) == "AA"
    with Ris() as his:
        his.answers(LOCKED, silence, AE)  # twice again, then refused
        with forwarding(database, his=his):
            until(lambda: sorted(states(way)) == ["done"] * 5 + ["parked"])
    assert his.messages == [texts[0]] * 3 + texts[1:]
    assert his.connections == 2  # one more after the silence


def test_an_order_s_story_says_who_was_sent_its_messages(sqlite_database):
    way = Way(sqlite_database, to("his"))
    way.send(orm())
    with sqlite_database.read() as session:
        told = story.tell(session, 1, Close(), now=way.now, zone=BERLIN)
    assert "his is to be sent what came in: ORM^O01" in [each.text for each in told.entries]


def test_what_is_about_a_parked_one_waits_and_a_person_decides(sqlite_database):
    way = Way(sqlite_database, to("his"))
    way.send(orm(MSH_10="O1"))
    way.send(orm(MSH_10="O2", ORC_1="XO"))
    way.send(adt_a08(PID_3="P9^^^ADT1", MSH_10="A1"))
    with Ris() as his:
        his.answers(AE)
        with forwarding(sqlite_database, his=his):
            until(lambda: states(way) == ["parked", "blocked", "done"])
            with pytest.raises(Rejected, match="as it came"):
                decide(way, outbox.resend, anew=True)
            decide(way, outbox.resend)
            until(lambda: states(way) == ["done"] * 3)
    assert his.ids == ["O1", "A1", "O1", "O2"]
    assert his.messages[0] == his.messages[2]


def decide(way, action, **how):
    way.database.write(lambda session: action(session, [1], now=datetime.now(UTC), **how))


def test_a_system_that_left_the_settings_has_its_messages_parked(sqlite_database):
    way = Way(sqlite_database, to("gone"), to("his"))
    way.send(adt_a08())
    with Ris() as his, forwarding(sqlite_database, his=his):
        until(lambda: states(way) == ["parked", "done"])
    assert "no [[hl7.forward]] of this name" in way.rows()[0].error


def test_what_was_forwarded_goes_with_its_time_and_what_waits_stays(database):
    way = Way(database, to("his"))
    for number in range(3):
        way.send(orm(MSH_10=f"O{number}"))
    way.database.write(
        lambda session: session.connection().execute(
            update(DELIVERY).where(DELIVERY.c.id != 2).values(state="done")
        )
    )
    way.now += timedelta(days=80)
    way.send(adt_a08(MSH_10="A1"))
    for days, left in ((89, ["O0", "O1", "O2", "A1"]), (91, ["O1", "A1"])):
        outbox.clear(database, Journal(keep_days=90), NOW + timedelta(days=days))
        assert [row.control_id for row in way.rows()] == left
    outbox.clear(database, Journal(keep_days=0), NOW + timedelta(days=9999))
    assert len(way.rows()) == 2


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('name = "a"\nhost = "h"\nport = 1\noutcome = "all"', "outcome"),
        ('name = "a"\nhost = "h"\nport = 1\nlisteners = ["west"]', "hl7.forward.1..listeners"),
        ('name = "ris"\nhost = "h"\nport = 1', "'ris' is there twice"),
        ('name = "a"\nhost = "h"\nport = 1\ntypes = [""]', "types"),
        ('name = "a"\nhost = "h"\nport = 1\ntypes = "ADT"', r'types: must be a list, like \["ADT'),
        ('name = "a"\nhost = "h"\nport = 1\noutcom = "x"', "did you mean outcome"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, wrong):
    file = tmp_path / "mwl.toml"
    ris = '[[hl7.destination]]\nname = "ris"\nhost = "h"\nport = 1\n'
    file.write_text(f"{ris}[[hl7.forward]]\n{text}\n")
    with pytest.raises(ConfigError, match=wrong):
        load(file, environ={})


def test_kill_9_loses_none_that_was_acknowledged(database, database_url, tmp_path):
    with Ris() as his, forwarding(database, his=his):
        config = tmp_path / "site.toml"
        table = f'name = "his"\nhost = "127.0.0.1"\nport = {his.port}\ntypes = ["ADT^*"]'
        config.write_text(f"[[hl7.forward]]\n{table}\n")
        environ = {"MWL_CONFIG": str(config), "MWL_DATABASE__URL": database_url}
        with Serving(tmp_path, "hl7", environ=environ) as server:
            server.start()
            taken = send_some(server.ports["hl7"], 60, kill=server.kill)
        until(lambda: set(taken) <= set(his.messages))
    assert len(taken) >= 59
    assert [text for text in his.messages if text in set(taken)] == taken  # once, and in order
    assert len(his.messages) == len(set(his.messages))


def send_some(port, count, kill):
    """Send one after another, and kill the server while they are; give what got AA."""
    taken = []
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        framer = mllp.Framer(100_000)
        for number in range(count):
            text = adt_a08(PID_3=f"P{number}^^^ADT1").encode()
            sock.sendall(mllp.frame(text))
            if number == count - 1:
                kill()
            try:
                answer = read(sock, framer)
            except OSError:
                break
            if answer is None:
                break
            assert b"MSA|AA" in answer
            taken.append(text)
    return taken


def read(sock, framer):
    while data := sock.recv(65_536):
        for message in framer.feed(data):
            return message
    return None
