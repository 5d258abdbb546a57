"""Who is known, who may associate, and who knocked."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from mwl import devices
from mwl.config import DeviceTable
from mwl.db import Database
from mwl.db.tables import Device
from mwl.devices import Verdict, Visit, admission, rows
from mwl.devices.oddities import WORDS
from mwl.errors import Outage, Rejected
from mwl.net.oddities import Oddity
from mwl.tls import Shown

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def device(ae_title: str, **more: object) -> DeviceTable:
    return DeviceTable(ae_title=ae_title, **more)


def titles(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {each.ae_title: each.origin for each in devices.listing(session)}


def knocks(database: Database) -> dict[str, tuple[int, bool]]:
    with database.read() as session:
        found = devices.knocks(session)
        return {each.calling_ae_title: (each.count, each.admitted) for each in found}


def add(database: Database, *tables: DeviceTable, replace: bool = False) -> None:
    for each in tables:
        database.write(lambda s, d=each: devices.add(s, d, now=NOW, replace=replace))


def sync(database: Database, *tables: DeviceTable) -> None:
    database.write(lambda s: devices.sync(s, tables, now=NOW))


def visit(database: Database, calling: str, count: int = 1, at: datetime = NOW) -> None:
    counts = {Visit(calling, "MWL", "10.0.0.9", admitted=False): count}
    database.write(lambda s: devices.knocked(s, counts, now=at))


@pytest.mark.parametrize(
    ("mode", "host", "stranger_may"),
    [
        ("auto", "127.0.0.1", True),
        ("auto", "::1", True),
        ("auto", "0.0.0.0", False),
        ("auto", "10.0.0.1", False),
        ("any", "127.0.0.1", True),
        ("any", "0.0.0.0", True),
        ("known", "127.0.0.1", False),
        ("known", "0.0.0.0", False),
    ],
)
def test_strangers_are_let_in_on_loopback_or_where_told_so(mode, host, stranger_may) -> None:
    assert devices.admits(mode, host, known=False) is stranger_may
    assert devices.admits(mode, host, known=True) is True


def test_device_is_found_whatever_padding_and_case(database: Database) -> None:
    add(database, device("CT1", host="10.0.0.2", port=104, modality="CT", station_name="ROOM 1"))
    with database.read() as session:
        for title in ("CT1", " ct1 ", "CT1\0"):
            found = devices.lookup(session, title)
            assert found is not None
            assert (found.ae_title, found.port, found.modality) == ("CT1", 104, "CT")
            assert found.may == ["worklist", "mpps", "store", "commit"]
        for title in ("CT", "CT11", "C%", "", "CТ1"):  # the last with a Cyrillic letter
            assert devices.lookup(session, title) is None


def test_registering_twice_needs_to_be_meant(database: Database) -> None:
    add(database, device("CT1", port=104))
    with pytest.raises(Rejected, match="--replace"):
        add(database, device("ct1", port=105))
    add(database, device("ct1", port=105), replace=True)
    with database.read() as session:
        (only,) = devices.listing(session)
        assert (only.ae_title, only.port) == ("ct1", 105)


def test_settings_own_the_devices_that_stand_in_them(database: Database) -> None:
    add(database, device("BYHAND"), device("BOTH"))
    sync(database, device("CT1"), device("both", modality="MR"))
    assert titles(database) == {"BYHAND": "manual", "CT1": "config", "both": "config"}
    with pytest.raises(Rejected, match="settings"):
        add(database, device("CT1"), replace=True)
    sync(database, device("MR1"))
    assert titles(database) == {"BYHAND": "manual", "MR1": "config"}


def test_syncing_the_same_settings_again_writes_nothing(database: Database) -> None:
    sync(database, device("CT1"))
    database.write(
        lambda s: devices.sync(s, [device("CT1")], now=NOW + timedelta(days=1)),
    )
    with database.read() as session:
        assert devices.listing(session)[0].updated_at == NOW
    database.write(
        lambda s: devices.sync(s, [device("CT1", port=1)], now=NOW + timedelta(days=1)),
    )
    with database.read() as session:
        assert devices.listing(session)[0].updated_at == NOW + timedelta(days=1)


def test_visits_of_strangers_add_up(database: Database) -> None:
    visit(database, "CT9", 2)
    visit(database, "CT9", 3, NOW + timedelta(hours=1))
    with database.read() as session:
        (knock,) = devices.knocks(session)
        assert (knock.count, knock.first_at, knock.last_at) == (5, NOW, NOW + timedelta(hours=1))


def test_registered_device_is_no_stranger_any_more(database: Database) -> None:
    for title in ("CT9", "MR9", "US9"):
        visit(database, title)
    add(database, device("ct9"))
    sync(database, device("MR9"))
    assert set(knocks(database)) == {"US9"}


def test_strangers_never_fill_the_disk(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MOST_KNOCKS", 3)
    for hour, title in enumerate("ABCDE"):
        visit(database, title, at=NOW + timedelta(hours=hour))
    assert set(knocks(database)) == {"C", "D", "E"}


def doorkeeper(database: Database, mode: str = "known") -> devices.Doorkeeper:
    return devices.Doorkeeper(database, ae_title="MWL", mode=mode, host="127.0.0.1")


def test_doorkeeper_tells_friend_from_stranger(database: Database) -> None:
    add(database, device("CT1"))
    door = doorkeeper(database)
    assert door.admit("MWL", "CT1", "10.0.0.2") is Verdict.ADMITTED
    assert door.admit("mwl ", " ct1", "10.0.0.2") is Verdict.ADMITTED
    assert door.admit("MWL", "CT2", "10.0.0.2") is Verdict.CALLING_UNKNOWN
    assert door.admit("MWL", "", "10.0.0.2") is Verdict.CALLING_UNKNOWN
    assert door.admit("PACS", "CT1", "10.0.0.2") is Verdict.CALLED_UNKNOWN
    assert door.admit("", "CT2", "10.0.0.2") is Verdict.CALLED_UNKNOWN
    assert doorkeeper(database, "any").admit("MWL", "CT2", "10.0.0.2") is Verdict.ADMITTED


def test_device_that_is_bound_to_a_certificate_comes_with_that_alone(database: Database) -> None:
    own, other = Shown("ab" * 32, ("ct1.example",)), Shown("cd" * 32, ("mr1.example",))
    add(database, device("CT1", certificate="ct1.example"))
    add(database, device("CT2", certificate="sha256:" + "ab" * 32), device("MR1"))
    for mode in ("known", "any", "auto"):
        door = doorkeeper(database, mode)
        for title in ("CT1", "ct2 "):
            asked = {
                shown: door.admit("MWL", title, "10.0.0.2", frozenset(), shown)
                for shown in (own, other, None)
            }
            assert asked == {
                own: Verdict.ADMITTED,
                other: Verdict.NOT_PROVEN,
                None: Verdict.NOT_PROVEN,
            }
        for shown in (own, None):
            assert door.admit("MWL", "MR1", "10.0.0.2", frozenset(), shown) is Verdict.ADMITTED
    door.start()
    door.stop()
    assert knocks(database) == {"CT1": (2, False), "ct2 ": (2, False)}


def test_doorkeeper_tells_what_a_device_may_do(database: Database) -> None:
    add(database, device("CT1"), device("PACS", may=[]))
    door = doorkeeper(database, "any")
    assert door.admit("MWL", "PACS", "10.0.0.2") is Verdict.ADMITTED
    allowed = {title: door.allows(title, "worklist") for title in ("CT1", "ct1 ", "PACS", "CT2")}
    assert allowed == {"CT1": True, "ct1 ": True, "PACS": False, "CT2": True}


def test_who_came_before_a_device_was_bound_to_a_certificate_does_nothing_more(
    database: Database,
) -> None:
    own, other = Shown("ab" * 32, ("ct1.example",)), Shown("cd" * 32, ("mr1.example",))
    door = doorkeeper(database, "any")
    assert door.admit("MWL", "CT1_OLD", "10.0.0.2") is Verdict.ADMITTED
    add(database, device("CT1", aliases=["CT1_OLD"], certificate="ct1.example"))
    door = doorkeeper(database, "any")
    allowed = [door.allows("CT1_OLD", "worklist", shown) for shown in (own, other, None)]
    assert allowed == [True, False, False]


def test_doorkeeper_writes_down_who_knocked(database: Database) -> None:
    add(database, device("CT1"))
    refusing, admitting = doorkeeper(database), doorkeeper(database, "any")
    for door in (refusing, admitting):
        door.start()
    for _ in range(3):
        refusing.admit("MWL", "CT2", "10.0.0.2")
    admitting.admit("MWL", "MR2", "10.0.0.3")
    refusing.admit("MWL", "CT1", "10.0.0.4")
    refusing.admit("PACS", "CT1", "10.0.0.4")
    for door in (refusing, admitting):
        door.stop()
    assert knocks(database) == {"CT2": (3, False), "MR2": (1, True), "CT1": (1, False)}


def test_doorkeeper_hears_of_new_devices_without_a_restart(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_DOUBTED_S", 0.0)
    door = doorkeeper(database)
    assert door.admit("MWL", "CT1", "10.0.0.2") is Verdict.CALLING_UNKNOWN
    add(database, device("CT1"))
    assert door.admit("MWL", "CT1", "10.0.0.2") is Verdict.ADMITTED


def oddities(database: Database, title: str) -> list[str]:
    with database.read() as session:
        found = devices.lookup(session, title)
        assert found is not None
        return list(found.oddities)


def test_doorkeeper_writes_down_what_is_odd_about_devices(database: Database) -> None:
    add(database, device("CT1"), device("MR1"))
    one, other = doorkeeper(database, "any"), doorkeeper(database, "any")
    for door in (one, other):
        door.start()
    one.admit("MWL", "CT1", "10.0.0.2", {"title-nul"})
    one.admit("MWL", "CT1", "10.0.0.2", {"no-max-length", "title-nul"})
    one.admit("MWL", "CT1", "10.0.0.2")
    one.admit("MWL", "MR1", "10.0.0.3")
    one.admit("MWL", "CT2", "10.0.0.4", {"uid-padding"})  # a stranger: logged alone
    one.admit("PACS", "MR1", "10.0.0.4", {"uid-padding"})
    one.stop()
    other.admit("MWL", "CT1", "10.0.0.2", {"even-context-id"})
    other.stop()
    assert oddities(database, "CT1") == ["even-context-id", "no-max-length", "title-nul"]
    assert oddities(database, "MR1") == []


def test_what_is_known_to_be_odd_is_not_written_again(database: Database) -> None:
    add(database, device("CT1"))
    with database.read() as session:
        row = devices.lookup(session, "CT1").id
    database.write(lambda session: rows.found_odd(session, {row: ["title-nul"], 99: ["x"]}))
    door = doorkeeper(database)
    door.admit("MWL", "CT1", "10.0.0.2", {"title-nul"})
    assert door._odd == {}
    with_more = {row: ["uid-padding", "title-nul"]}
    database.write(lambda session: rows.found_odd(session, with_more))
    assert oddities(database, "CT1") == ["title-nul", "uid-padding"]


def test_what_is_odd_outlives_a_change_of_the_device(database: Database) -> None:
    add(database, device("CT1"))
    with database.read() as session:
        row = devices.lookup(session, "CT1").id
    database.write(lambda session: rows.found_odd(session, {row: ["title-nul"]}))
    sync(database, device("CT1", modality="CT"))
    assert oddities(database, "CT1") == ["title-nul"]


def test_every_oddity_is_said_in_words() -> None:
    assert set(WORDS) == set(Oddity)
    assert devices.in_words(["uid-padding", "newer"]) == "pads UIDs, newer"
    assert devices.in_words([]) == ""


class Flaky(Database):
    """A database that can be taken away."""

    gone = False

    @contextmanager
    def read(self) -> Iterator[object]:
        if self.gone:
            raise Outage("gone")
        with super().read() as session:
            yield session


def test_doorkeeper_remembers_its_friends_while_the_database_is_gone(
    database_url: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_FRESH_S", 0.0)
    database = Flaky(database_url, data_dir=tmp_path)
    add(database, device("CT1"))
    door = doorkeeper(database)
    assert door.admit("MWL", "CT1", "10.0.0.2") is Verdict.ADMITTED
    database.gone = True
    assert door.admit("MWL", "CT1", "10.0.0.2") is Verdict.ADMITTED
    assert door.admit("MWL", "CT2", "10.0.0.2") is Verdict.CALLING_UNKNOWN
    with pytest.raises(Outage):
        doorkeeper(database).admit("MWL", "CT1", "10.0.0.2")
    assert doorkeeper(database, "any").admit("MWL", "CT2", "10.0.0.2") is Verdict.ADMITTED
    database.close()


def test_doorkeeper_keeps_a_bounded_number_of_visits(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_MOST_VISITS", 2)
    door = doorkeeper(sqlite_database)
    for title in ("A", "B", "C", "A"):
        door.admit("MWL", title, "10.0.0.2")
    door.start()
    door.stop()
    assert knocks(sqlite_database) == {"A": (2, False), "B": (1, False)}


@pytest.mark.parametrize(
    ("mode", "host", "takes_images", "works"),
    [
        ("auto", "127.0.0.1", True, True),
        ("any", "0.0.0.0", False, True),
        ("known", "127.0.0.1", False, False),
    ],
)
def test_a_stranger_takes_no_images_away_but_on_loopback(
    database: Database, mode: str, host: str, takes_images: bool, works: bool
) -> None:
    keeper = devices.Doorkeeper(database, ae_title="MWL", mode=mode, host=host)
    assert [keeper.allows("CT9", what) for what in ("query", "retrieve")] == [takes_images] * 2
    for what in ("worklist", "mpps", "store", "commit"):
        assert keeper.allows("CT9", what) is works


def only(database: Database) -> Device:
    with database.read() as session:
        (found,) = devices.listing(session)
        session.expunge_all()
        return found


def test_a_device_is_changed_and_says_what_it_was(database: Database) -> None:
    add(database, device("CT1", host="10.0.0.2", port=104))
    row = only(database).id
    later = NOW + timedelta(hours=1)
    before = database.write(
        lambda s: devices.change(s, row, device("CT7", host="10.0.0.3", port=105), now=later)
    )
    assert (before.ae_title, before.host, before.port) == ("CT1", "10.0.0.2", 104)
    found = only(database)
    assert (found.id, found.ae_title, found.host, found.port) == (row, "CT7", "10.0.0.3", 105)
    assert (found.created_at, found.updated_at) == (NOW, later)


def test_a_device_is_removed(database: Database) -> None:
    add(database, device("CT1"))
    row = only(database).id
    assert database.write(lambda s: devices.remove(s, row)).ae_title == "CT1"
    assert titles(database) == {}
    with pytest.raises(Rejected, match="not registered"):
        database.write(lambda s: devices.remove(s, row))


def test_a_title_that_another_has_is_refused(database: Database) -> None:
    add(database, device("CT1"), device("CT2"))
    with database.read() as session:
        row = devices.lookup(session, "CT2").id
    with pytest.raises(Rejected, match="registered already"):
        database.write(lambda s: devices.change(s, row, device("ct1"), now=NOW))
    assert set(titles(database)) == {"CT1", "CT2"}


def test_what_the_settings_own_is_changed_there_alone(database: Database) -> None:
    sync(database, device("CT1"))
    row = only(database).id
    with pytest.raises(Rejected, match="settings"):
        database.write(lambda s: devices.change(s, row, device("CT1", port=1), now=NOW))
    with pytest.raises(Rejected, match="settings"):
        database.write(lambda s: devices.remove(s, row))
    assert titles(database) == {"CT1": "config"}


def test_a_known_device_is_remembered_with_its_address(database: Database) -> None:
    add(database, device("CT1"), device("CT2"))
    door = doorkeeper(database)
    door.start()
    began = datetime.now(UTC)
    door.admit("MWL", "ct1", "10.0.0.2")
    door.stop()
    with database.read() as session:
        found, other = devices.lookup(session, "CT1"), devices.lookup(session, "CT2")
        assert began <= found.seen_at <= datetime.now(UTC)
        assert (found.seen_address, found.updated_at) == ("10.0.0.2", NOW)
        assert (other.seen_at, other.seen_address) == (None, "")


def test_a_long_association_keeps_its_device_in_sight(database: Database) -> None:
    add(database, device("CT1"))
    row = only(database).id
    database.write(lambda s: devices.seen(s, {row: "10.0.0.2"}, now=NOW))
    door = doorkeeper(database)
    door.start()
    assert door.allows("CT1", "store")
    door.stop()
    assert only(database).seen_at > NOW
    assert only(database).seen_address == "10.0.0.2"


def test_who_is_refused_is_not_seen(database: Database) -> None:
    add(database, device("CT1"))
    door = doorkeeper(database)
    door.start()
    door.admit("PACS", "CT1", "10.0.0.2")
    door.stop()
    assert only(database).seen_at is None
    assert set(knocks(database)) == {"CT1"}


def test_settings_and_changes_leave_last_contact_alone(database: Database) -> None:
    sync(database, device("CT1"))
    row = only(database).id
    database.write(lambda s: devices.seen(s, {row: "10.0.0.2"}, now=NOW))
    sync(database, device("CT1"))
    assert only(database).updated_at == NOW
    sync(database, device("CT1", port=7))
    assert (only(database).seen_at, only(database).seen_address) == (NOW, "10.0.0.2")
