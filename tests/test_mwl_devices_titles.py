"""A scanner with several AE titles is one device, whoever compares its titles."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import literal, select

from mwl import devices
from mwl.config import DeviceTable, DeviceWorklist
from mwl.db.tables import Device, DeviceTitle
from mwl.devices import Doorkeeper
from mwl.devices import catalog as catalog_module
from mwl.devices.catalog import Catalog
from mwl.devices.titles import caller, is_station_of, own
from tests.worklist_rows import NOW

_DEVICE = Device.__table__


def table(title="CT1", *aliases, stations=(), **more):
    shown = DeviceWorklist(stations=stations)
    return DeviceTable(ae_title=title, aliases=aliases, worklist=shown, **more)


def register(database, *tables):
    for each in tables:
        database.write(lambda session, each=each: devices.add(session, each, now=NOW))


def whose(database, title):
    with database.read() as session:
        conn = session.connection()
        in_sql = conn.scalar(select(caller(literal(title))))
        assert own(conn, title) == in_sql
        device = devices.lookup(session, title)
        return in_sql, device.ae_title if device else None


def test_each_title_leads_to_its_device_and_a_station_to_none(database):
    register(database, table("CT1", "Ct1_Store", stations=("CT_ROOM",)), table("CT2"))
    assert whose(database, "CT1") == whose(database, "ct1_store") == ("CT1", "CT1")
    assert whose(database, "ct2") == ("CT2", "CT2")
    assert whose(database, "CT_ROOM") == ("CT_ROOM", None)
    assert whose(database, "nobody") == ("NOBODY", None)


def test_a_device_has_its_own_stations_beside_its_titles(database):
    register(database, table("CT1", "CT1_STORE", stations=("ROOM1", "ROOM2")))
    register(database, table("CT2", stations=("ROOM2",)))

    def of(title):
        with database.read() as session:
            found = select(_DEVICE.c.ae_title).where(is_station_of(literal(title), _DEVICE.c))
            return set(session.connection().execute(found).scalars())

    assert of("room1") == of("CT1") == of("Ct1_store") == {"CT1"}
    assert of("ROOM2") == {"CT1", "CT2"}
    assert of("ROOM3") == set()


def test_titles_go_with_what_is_set_of_the_device(database):
    register(database, table("CT1", "OLD", stations=("ROOM",)), table("CT2", "OTHER"))
    with database.read() as session:
        row = devices.lookup(session, "CT1").id
    database.write(lambda session: devices.change(session, row, table("CT1", "NEW"), now=NOW))
    assert whose(database, "NEW") == ("CT1", "CT1")
    assert whose(database, "OLD") == ("OLD", None)
    database.write(lambda session: devices.remove(session, row))
    assert whose(database, "NEW") == ("NEW", None)
    with database.read() as session:
        left = session.connection().execute(select(DeviceTitle.__table__.c.ae_title)).scalars()
        assert list(left) == ["OTHER"]


def test_the_settings_keep_titles_too(database):
    def sync(*tables):
        database.write(lambda session: devices.sync(session, tables, now=NOW))

    sync(table("CT1", "A"), table("CT2", "B"))
    assert whose(database, "a") == ("CT1", "CT1")
    sync(table("CT2", "B", "A"))
    assert whose(database, "a") == ("CT2", "CT2")


def test_rights_last_contact_and_settings_are_those_of_the_device_by_any_title(database):
    register(database, table("CT1", "CT1_STORE", may=("store",), modality="CT"))
    door = Doorkeeper(database, ae_title="MWL", mode="known", host="0.0.0.0")
    assert door.admit("MWL", "ct1_store", "10.0.0.7").value == "admitted"
    assert door.allows("CT1_STORE", "store")
    assert not door.allows("CT1_STORE", "worklist")
    assert door.settings("CT1_STORE").modality == "CT"
    assert door.settings("NOBODY") is None
    door._write()
    with database.read() as session:
        assert devices.lookup(session, "CT1").seen_address == "10.0.0.7"
        assert devices.knocks(session) == []


def test_it_is_called_by_the_title_that_was_asked_for():
    device = Device(ae_title="WS1", aliases=["Ws1_B"])
    assert devices.called(device, "WS1_B") == "Ws1_B"
    assert devices.called(device, "ws1") == devices.called(device, "?") == "WS1"


# --- the devices that a process keeps


def test_what_has_not_changed_is_not_read_again(database, monkeypatch):
    register(database, *(table(f"CT{n}", f"A{n}") for n in range(5)))
    catalog, read = Catalog(), []
    before = catalog_module._known
    monkeypatch.setattr(catalog_module, "_known", lambda row: read.append(row) or before(row))

    def refresh():
        read.clear()
        with database.read() as session:
            catalog.refresh(session)
        return [row.ae_title for row in read]

    assert len(refresh()) == 5
    assert refresh() == []
    with database.read() as session:
        row = devices.lookup(session, "CT1").id
    database.write(lambda session: devices.change(session, row, table("CT1", "B1"), now=NOW))
    assert refresh() == ["CT1"]
    assert catalog.get("A3").table.ae_title == "CT3"
    assert catalog.get("B1").table.ae_title == "CT1"
    assert catalog.get("A1") is None


@pytest.mark.parametrize("titles", ["AB", "BA"])
def test_a_title_that_the_settings_give_another_device_is_still_its_own(sqlite_database, titles):
    """Nobody asks the settings whether they may: whoever looks it up finds the same one."""
    for title in titles:
        aliases = ["B"] * (title == "A")
        row = {"ae_title": title, "aliases": aliases, "created_at": NOW, "updated_at": NOW}
        sqlite_database.write(lambda session, row=row: session.add(Device(**row)))
    catalog = Catalog()
    with sqlite_database.read() as session:
        catalog.refresh(session)
        assert devices.lookup(session, "B").ae_title == "B"
    assert catalog.get("B").table.ae_title == "B"


@st.composite
def changes(draw):
    """Draw what people do with four devices, at one and the same instant."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "remove", "odd"]),
                st.integers(0, 3),
                st.sampled_from(["CT", "MR"]),
            ),
            max_size=6,
        )
    )


@given(changes())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_catalog_that_is_refreshed_is_as_one_that_is_read_anew(sqlite_database, done):
    catalog = Catalog()

    def refresh(session):
        catalog.refresh(session)

    with sqlite_database.read() as session:
        refresh(session)
    for what, number, modality in done:

        def work(session, what=what, number=number, modality=modality):
            row = devices.lookup(session, f"CT{number}")
            wanted = table(f"CT{number}", f"A{number}", modality=modality)
            if what == "put":
                devices.add(session, wanted, now=NOW, replace=True)
            elif row is not None and what == "remove":
                devices.remove(session, row.id)
            elif row is not None:
                devices.rows.found_odd(session, {row.id: [modality]})

        sqlite_database.write(work)
        fresh = Catalog()
        with sqlite_database.read() as session:
            refresh(session)
            fresh.refresh(session)
        for title in (f"{letters}{n}" for letters in ("CT", "A") for n in range(4)):
            assert catalog.get(title) == fresh.get(title)


@pytest.mark.parametrize("given", ["worklist", "mpps"])
def test_a_device_that_is_changed_is_another_a_second_later(sqlite_database, given):
    register(sqlite_database, table("CT1", may=("worklist",)))
    door = Doorkeeper(sqlite_database, ae_title="MWL", mode="known", host="127.0.0.1")
    assert door.allows("CT1", "worklist")
    changed = replace_(table("CT1"), may=(given,))
    sqlite_database.write(lambda session: devices.change(session, 1, changed, now=NOW))
    door._stale_at = 0.0  # as if it were later
    assert door.allows("CT1", given)
    assert door.allows("CT1", "worklist") is (given == "worklist")


def replace_(device, **changed):
    return device.model_copy(update=changed)
