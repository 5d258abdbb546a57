"""The pages of devices: who may see and do what, and what is said when it goes wrong."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from hl7.server import MllpServer, listen
from mwl import devices
from mwl.accounts import Role
from mwl.audit import Actor
from mwl.config import (
    Archive,
    Destination,
    DeviceTable,
    Forward,
    Hl7,
    Mpps,
    MppsForward,
    Settings,
    Tls,
)
from mwl.db import Database
from mwl.db.tables import AuditEvent, Device
from mwl.devices import Answer, Visit
from mwl.tls import Files, Keys
from tests.certificates import Authority
from tests.web_app import WebApp

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    return made(database, tmp_path)


def made(database: Database, folder: Path, **tools: Any) -> WebApp:
    told = Destination(name="ris", host="10.0.0.9", port=6661)
    sent = Forward(name="his", host="10.0.0.8", port=6662, types=("ADT^*",), sources=("RIS^*",))
    where = {"host": "10.0.0.7", "port": 104}
    manager = MppsForward(name="dose", ae_title="DOSE", devices=("CT*",), **where)
    settings = Settings(
        data_dir=folder,
        archive=Archive(min_free_bytes=0),
        hl7=Hl7(destination=(told,), forward=(sent,)),
        mpps=Mpps(forward=(manager,)),
    )
    return WebApp(database, folder, settings, **tools)


def register(app: WebApp, title: str = "CT1", **more: Any) -> int:
    table = DeviceTable(ae_title=title, **more)
    app.database.write(lambda s: devices.add(s, table, now=app.now))
    with app.database.read() as session:
        found = devices.lookup(session, title)
        assert found is not None
        return int(found.id or 0)


def knock(app: WebApp, calling: str, *, called: str = "MWL", admitted: bool = False) -> int:
    visits = {Visit(calling, called, "10.0.0.7", admitted): 3}
    app.database.write(lambda s: devices.knocked(s, visits, now=app.now))
    with app.database.read() as session:
        return int(devices.knocks(session)[0].id or 0)


def trail(app: WebApp) -> list[tuple[str, str, str, dict[str, Any]]]:
    with app.database.read() as session:
        events = session.exec(select(AuditEvent).order_by(AuditEvent.id)).all()
        return [(each.who, each.action, each.subject, each.detail) for each in events]


def one(app: WebApp, row: int) -> Device:
    with app.database.read() as session:
        found = devices.get(session, row)
        assert found is not None
        return found


FORM = {
    "ae_title": "CT7",
    "host": "10.0.0.5",
    "port": "104",
    "modality": "ct",
    "station_name": "CT ROOM 7",
    "location": "Room 7",
    "may": ["worklist", "mpps"],
    "mpps": "on",
    "commit_report": "same",
}


def test_the_list_shows_devices_and_who_knocked(app: WebApp) -> None:
    row = register(app, "CT1", host="10.0.0.2", port=104, modality="CT", location="Room 1")
    app.database.write(lambda s: devices.seen(s, {row: "10.0.0.2"}, now=app.now))
    knock(app, "MR9")
    app.now += timedelta(minutes=5)
    page = app.signed_in().get("/devices").text
    for text in ("CT1", "10.0.0.2:104", "Room 1", "5 min ago", "MR9", "refused", "10.0.0.9:6661"):
        assert text in page
    assert "/register" not in page  # a viewer may not


def test_a_fleet_is_shown_page_by_page_and_searched(app: WebApp) -> None:
    fleet = [DeviceTable(ae_title=f"CT~{n:03}", location=f"Züri {n}") for n in range(101)]
    fleet.append(DeviceTable(ae_title="MR1", aliases=["OLD_MR"], host="mr1.example"))
    app.database.write(lambda s: devices.bring(s, Actor("admin"), fleet, now=app.now))
    knock(app, "OLD_MR")
    client = app.signed_in()

    def titles(page: str) -> list[str]:
        return re.findall(r"<strong>((?:CT|MR)[^<]*)</strong></a>", page)

    first = client.get("/devices").text
    assert titles(first) == [f"CT~{n:03}" for n in range(50)]
    assert ">registered</a>" in first  # whatever page it is on
    second = client.get("/devices" + next_of(first)).text
    assert titles(second) == [f"CT~{n:03}" for n in range(50, 100)]
    assert titles(client.get("/devices" + next_of(second)).text) == ["CT~100", "MR1"]
    back = re.search(r'rel="prev" href="([^"]*)"', second)
    assert back is not None
    assert titles(client.get("/devices" + back[1]).text) == titles(first)
    for text, found in (("old_m", ["MR1"]), ("MR1.ex", ["MR1"]), ("züri 7", 11), ("%", [])):
        shown = titles(client.get("/devices", query_string={"text": text}).text)
        assert shown == found or len(shown) == found
    assert "None is called so" in client.get("/devices?text=nobody").text


def next_of(page: str) -> str:
    found = re.search(r'rel="next" href="([^"]*)"', page)
    assert found is not None
    return found[1].replace("&amp;", "&")


def test_a_device_s_page_says_what_is_overlooked(app: WebApp) -> None:
    row, client = register(app), app.signed_in(Role.VIEWER)
    assert "Overlooked" not in client.get(f"/devices/{row}").text
    codes = ["no-max-length", "title-nul"]
    app.database.write(lambda s: devices.rows.found_odd(s, {row: codes}))
    page = client.get(f"/devices/{row}").text
    assert (
        "When it associates, it doesn&#39;t say how long a PDU may be that it receives, "
        "pads AE titles with NUL bytes instead of spaces." in page
    )


def test_a_device_is_registered_from_its_form(app: WebApp) -> None:
    answer = app.signed_in(Role.ADMIN).post("/devices/new", data=FORM)
    assert answer.status_code == 303
    row = int(answer.location.rsplit("/", 1)[1])
    found = one(app, row)
    assert (found.ae_title, found.host, found.port, found.modality) == (
        "CT7",
        "10.0.0.5",
        104,
        "CT",
    )
    assert (found.may, found.mpps, found.commit_report) == (["worklist", "mpps"], True, "same")
    ((who, action, subject, detail),) = trail(app)
    assert (who, action, subject) == ("admin", "create", "device:CT7")
    assert (detail["host"], detail["port"]) == ("10.0.0.5", 104)


def test_who_knocked_is_registered_with_one_click_more(app: WebApp) -> None:
    row = knock(app, "MR9")
    admin = app.signed_in(Role.ADMIN)
    assert f"/devices/knocks/{row}/register" in admin.get("/devices").text
    page = admin.get(f"/devices/knocks/{row}/register").text
    assert 'value="MR9"' in page
    assert 'value="10.0.0.7"' in page
    assert "3 times" in page
    form = {"ae_title": "MR9", "host": "10.0.0.7", "may": ["worklist"], "mpps": "on"}
    assert admin.post("/devices/new", data=form).status_code == 303
    assert "Nobody." in admin.get("/devices").text
    assert admin.get(f"/devices/knocks/{row}/register").status_code == 404


def test_a_known_device_that_calls_a_wrong_title_is_told_what_to_change(app: WebApp) -> None:
    register(app, "CT1")
    knock(app, "CT1", called="PACS")
    page = app.signed_in(Role.ADMIN).get("/devices").text
    assert "we are MWL: change it at the device" in page
    assert ">registered</a>" in page


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("ae_title", "", "an AE title has 1 to 16 ASCII characters"),
        ("ae_title", "CT\\1", "an AE title has 1 to 16 ASCII characters"),
        ("host", "10.0.0.5/x", "must be an IP address or a host name"),
        ("port", "99999", "less than or equal to 65535"),
        ("port", "x", "valid integer"),
        ("location", "x" * 17, "at most 16 characters"),
        ("commit_report", "never", "new"),
    ],
)
def test_a_wrong_field_is_named_and_what_was_typed_is_kept(
    app: WebApp, field: str, value: str, says: str
) -> None:
    answer = app.signed_in(Role.ADMIN).post("/devices/new", data=FORM | {field: value})
    assert answer.status_code == 400
    if field != "commit_report":
        assert says in answer.text
        assert "is-invalid" in answer.text
    assert 'value="CT ROOM 7"' in answer.text
    assert trail(app) == []


def test_registering_twice_is_refused(app: WebApp) -> None:
    register(app, "CT7")
    answer = app.signed_in(Role.ADMIN).post("/devices/new", data=FORM)
    assert answer.status_code == 409
    assert "is registered already" in answer.text
    assert "--replace" not in answer.text


def test_a_device_is_changed_and_the_trail_says_what(app: WebApp) -> None:
    row = register(app, "CT7", host="10.0.0.4", port=104)
    answer = app.signed_in(Role.ADMIN).post(f"/devices/{row}", data=FORM)
    assert (answer.status_code, answer.location) == (303, f"/devices/{row}")
    assert one(app, row).host == "10.0.0.5"
    ((_, action, subject, detail),) = trail(app)
    assert (action, subject) == ("change", "device:CT7")
    assert "port" not in detail
    assert detail["host"] == "10.0.0.5"


SHOWN_FORM = {
    "aliases": "CT7_OLD\r\nCT 7\r\n",
    "zone": "Europe/Lisbon",
    "close_images": "elsewhere",
    "shown": ["may", "mpps", "tls", "worklist.own_station", "worklist.hide", "worklist.tolerates"],
    "worklist.own_station": "on",
    "worklist.stations": "XA1",
    "worklist.modalities": "ct, pt",
    "worklist.locations": "ROOM 1, BACK\r\nROOM 2",
    "worklist.hours_back": "12,5",
    "worklist.hours_ahead": "",
    "worklist.hide": ["DEPARTED", "STARTED"],
    "worklist.max_answers": "200",
    "worklist.beyond": "cut",
    "worklist.synonyms": "cr = cr, DX\r\nPT=PT",
    "worklist.defaults": "PatientSex = O\r\nPatientComments = a = b",
    "worklist.ignore": "Modality",
    "worklist.tolerates": ["dates", "ff01"],
    "characters.sets": "\\ISO 2022 IR 87\r\nISO_IR 100",
    "characters.beyond": "utf-8",
    "characters.assumed": "ISO_IR 13",
}
SHOWN_TABLE = {
    "aliases": ("CT7_OLD", "CT 7"),
    "zone": "Europe/Lisbon",
    "close_images": "elsewhere",
    "worklist": {
        "own_station": True,
        "stations": ("XA1",),
        "modalities": ("CT", "PT"),
        "locations": ("ROOM 1, BACK", "ROOM 2"),
        "hours_back": 12.5,
        "hide": ("DEPARTED", "STARTED"),
        "max_answers": 200,
        "beyond": "cut",
        "synonyms": {"CR": ("CR", "DX"), "PT": ("PT",)},
        "defaults": {"PatientSex": "O", "PatientComments": "a = b"},
        "ignore": ("Modality",),
        "tolerates": ("dates", "ff01"),
    },
    "characters": {
        "sets": ("\\ISO 2022 IR 87", "ISO_IR 100"),
        "beyond": "utf-8",
        "assumed": "ISO_IR 13",
    },
}


def table(app: WebApp, row: int) -> dict[str, Any]:
    return devices.table_of(one(app, row)).model_dump(exclude_defaults=True)


def test_every_setting_of_a_device_is_in_its_form(app: WebApp) -> None:
    admin = app.signed_in(Role.ADMIN)
    row = int(admin.post("/devices/new", data=FORM | SHOWN_FORM).location.rsplit("/", 1)[1])
    assert table(app, row).items() >= SHOWN_TABLE.items()
    page = admin.get(f"/devices/{row}").text
    for name, value in DeviceTable(ae_title="X").model_dump().items():
        within = [f"{name}.{each}" for each in value] if isinstance(value, dict) else [name]
        for each in within:
            assert f'name="{each}"' in page
    for told in ("only at ROOM 1, BACK, ROOM 2", "CR, DX where it asks for CR", "CT7_OLD, CT 7"):
        assert told in page


def test_what_a_form_does_not_show_stays_as_it_is(app: WebApp) -> None:
    row = register(app, "CT7", **SHOWN_TABLE)
    small = {"ae_title": "CT7", "host": "10.0.0.5", "port": "104"}
    assert app.signed_in(Role.ADMIN).post(f"/devices/{row}", data=small).status_code == 303
    assert table(app, row) == {"ae_title": "CT7", "host": "10.0.0.5", "port": 104, **SHOWN_TABLE}
    ((_, _, _, detail),) = trail(app)
    assert detail == {"host": "10.0.0.5", "port": 104}


def test_boxes_that_are_shown_and_not_checked_are_taken_away(app: WebApp) -> None:
    row = register(app, "CT7", **SHOWN_TABLE)
    empty = {"ae_title": "CT7", "shown": SHOWN_FORM["shown"], "worklist.modalities": "PT"}
    assert app.signed_in(Role.ADMIN).post(f"/devices/{row}", data=empty).status_code == 303
    found = devices.table_of(one(app, row))
    assert (found.may, found.mpps, found.tls) == ((), False, False)
    assert (found.worklist.own_station, found.worklist.hide) == (False, ())
    ((_, _, _, detail),) = trail(app)
    assert detail == {
        "may": [],
        "mpps": False,
        "worklist.own_station": False,
        "worklist.modalities": ["PT"],
        "worklist.hide": [],
        "worklist.tolerates": [],
    }


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("aliases", "CT\\1", "an AE title has 1 to 16 ASCII characters"),
        ("zone", "Lisbon", "no such time zone; write an IANA name"),
        ("worklist.modalities", "C-T", "must be a code of at most 16 capital letters and digits"),
        ("worklist.hours_back", "-1", "greater than or equal to 0"),
        ("worklist.max_answers", "many", "valid integer"),
        ("worklist.synonyms", "CR DX", "a line is written NAME = VALUE"),
        ("worklist.defaults", "sex = O", "must be the keyword of an attribute, like PatientSex"),
        ("worklist.hide", "GONE", "should be &#39;SCHEDULED&#39;"),
        ("worklist.tolerates", "all", "should be &#39;dates&#39;"),
        ("characters.sets", "x" * 129, "at most 128 characters"),
    ],
)
def test_a_wrong_setting_is_told_where_it_is(
    app: WebApp, field: str, value: str, says: str
) -> None:
    answer = app.signed_in(Role.ADMIN).post("/devices/new", data=FORM | {field: value})
    assert answer.status_code == 400
    (told,) = re.findall(r'class="(?:invalid-feedback|text-danger small)">([^<]*)', answer.text)
    assert says in told
    assert ('<details class="group" open>' in answer.text) is ("." in field)
    assert trail(app) == []


def test_a_title_of_another_device_is_told_where_it_is(app: WebApp) -> None:
    register(app, "CT1", aliases=["CT1_OLD"])
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post("/devices/new", data=FORM | {"aliases": "ct1_old"})
    assert answer.status_code == 409
    assert "alias ct1_old is registered already: it is a title of CT1" in answer.text


def test_a_change_that_is_wrong_changes_nothing(app: WebApp) -> None:
    register(app, "CT1")
    row = register(app, "CT7")
    admin = app.signed_in(Role.ADMIN)
    assert admin.post(f"/devices/{row}", data=FORM | {"port": "0"}).status_code == 400
    taken = admin.post(f"/devices/{row}", data=FORM | {"ae_title": "ct1"})
    assert taken.status_code == 409
    assert "is registered already" in taken.text
    assert one(app, row).ae_title == "CT7"
    assert trail(app) == []


def test_a_device_is_removed(app: WebApp) -> None:
    row = register(app, "CT7")
    admin = app.signed_in(Role.ADMIN)
    assert admin.post(f"/devices/{row}/remove").location == "/devices"
    assert "CT7 is removed." in admin.get("/devices").text
    assert admin.get(f"/devices/{row}").status_code == 404
    assert [event[1:3] for event in trail(app)] == [("remove", "device:CT7")]


def test_what_the_settings_own_is_read_only(app: WebApp) -> None:
    app.database.write(lambda s: devices.sync(s, [DeviceTable(ae_title="CT1")], now=app.now))
    with app.database.read() as session:
        row = devices.listing(session)[0].id
    admin = app.signed_in(Role.ADMIN)
    page = admin.get(f"/devices/{row}").text
    assert "It stands in the settings" in page
    assert "Remove" not in page
    assert admin.post(f"/devices/{row}", data=FORM).status_code == 409
    assert admin.post(f"/devices/{row}/remove").status_code == 409
    assert trail(app) == []


@pytest.mark.parametrize("well", [True, False])
def test_an_echo_says_what_came_of_it_and_is_recorded(
    database: Database, tmp_path: Path, well: bool
) -> None:
    asked = []

    def ask(device: Device) -> Answer:
        asked.append((device.ae_title, device.host, device.port))
        return Answer(well, "answered in 12 ms" if well else "nobody listens at 10.0.0.5:104")

    app = made(database, tmp_path, echo=ask)
    row = register(app, "CT7", host="10.0.0.5", port=104)
    page = app.signed_in(Role.ADMIN).post(f"/devices/{row}/echo")
    assert page.status_code == 200
    assert asked == [("CT7", "10.0.0.5", 104)]
    assert ("answered in 12 ms" if well else "nobody listens at 10.0.0.5:104") in page.text
    assert ("alert-success" in page.text) is well
    ((_, action, subject, detail),) = trail(app)
    assert (action, subject, detail["answers"]) == ("test", "device:CT7", well)


def test_tls_and_the_certificate_of_a_device_are_set_on_its_page(app: WebApp) -> None:
    row = register(app, "CT7", host="10.0.0.5", port=104)
    admin = app.signed_in(Role.ADMIN)
    assert "<dt>TLS</dt>" not in admin.get(f"/devices/{row}").text
    given = {**FORM, "tls": "on", "certificate": "SHA256:" + ":".join(["AB"] * 32)}
    assert admin.post(f"/devices/{row}", data=given).status_code == 303
    page = admin.get(f"/devices/{row}").text
    assert f"sha256:{'ab' * 32}" in page
    assert "we call it over TLS" in page
    wrong = admin.post(f"/devices/{row}", data={**given, "certificate": "sha256:12"})
    assert wrong.status_code == 400
    assert "64 hexadecimal digits" in wrong.text
    assert (
        admin.post(f"/devices/{row}", data=FORM | {"shown": ["tls"], "certificate": ""}).status_code
        == 303
    )
    assert "<dt>TLS</dt>" not in admin.get(f"/devices/{row}").text


def test_knock_of_a_known_device_without_its_certificate_is_told_apart(app: WebApp) -> None:
    register(app, "CT7", certificate="ct7.example")
    knock(app, "CT7")
    page = app.signed_in(Role.VIEWER).get("/devices").text
    assert "without the certificate that it is bound to" in page


def test_a_device_without_an_address_is_not_asked(app: WebApp) -> None:
    row = register(app, "CT7")
    page = app.signed_in(Role.ADMIN).post(f"/devices/{row}/echo").text
    assert "it has no host and port here" in page
    assert trail(app) == []


def test_a_destination_is_tested(database: Database, tmp_path: Path) -> None:
    app = made(database, tmp_path, reach=lambda to: Answer(False, f"nobody at {to.host}:{to.port}"))
    admin = app.signed_in(Role.ADMIN)
    assert "nobody at 10.0.0.9:6661" in admin.post("/devices/destinations/ris/test").text
    assert [event[1:3] for event in trail(app)] == [("test", "destination:ris")]
    page = admin.post("/devices/destinations/his/test").text
    assert "nobody at 10.0.0.8:6662" in page
    assert "ADT^* of RIS^*" in page
    page = admin.post("/devices/destinations/dose/test").text
    assert "nobody at 10.0.0.7:104" in page
    assert "DOSE@10.0.0.7:104" in page
    assert "CT*" in page
    assert admin.post("/devices/destinations/other/test").status_code == 404


def test_a_destination_over_tls_is_tested_with_our_certificates(
    sqlite_database: Database, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "ca")
    theirs, ours = authority.issue("ris.example"), authority.issue("bridge")
    keys = Keys(Files("ris", theirs.certificate, theirs.key, ca=authority.certificate), "required")
    tls = Tls(certificate=str(ours.certificate), key=str(ours.key), ca=str(authority.certificate))
    with listen("127.0.0.1", 0) as listener:
        server = MllpServer(listener, lambda _raw, _peer: b"", keys=keys)
        server.start()
        here = {"host": "127.0.0.1", "port": server.port, "tls": True}
        told = (
            Destination(name="known", certificate="ris.example", **here),
            Destination(name="other", certificate="another.example", **here),
            Destination(name="plain", host="127.0.0.1", port=server.port),
        )
        settings = Settings(data_dir=tmp_path, hl7=Hl7(tls=tls, destination=told))
        admin = WebApp(sqlite_database, tmp_path, settings).signed_in(Role.ADMIN)
        page = admin.post("/devices/destinations/known/test").text
        assert re.search(r"takes connections \(\d+ ms, TLS\); nothing was sent", page)
        assert page.count("over TLS") == 2
        page = admin.post("/devices/destinations/other/test").text
        assert "not another.example, as we know it" in page
        ours.key.write_text("half of it")
        page = admin.post("/devices/destinations/known/test").text
        assert "hl7.tls.key" in page
        assert "holds no private key" in page
        server.stop(5)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.TECHNOLOGIST])
def test_only_an_administrator_changes_and_tests(app: WebApp, role: Role) -> None:
    row = register(app, "CT7")
    person = app.signed_in(role)
    assert person.get(f"/devices/{row}").status_code == 200
    assert "<form" not in person.get(f"/devices/{row}").text.split("<main")[1]
    for path in ("new", f"{row}", f"{row}/remove", f"{row}/echo", "destinations/ris/test"):
        assert person.post(f"/devices/{path}", data=FORM).status_code == 403
    assert person.get("/devices/new").status_code == 403
    assert trail(app) == []


@pytest.mark.parametrize("path", ["999", "999/echo", "999/remove"])
def test_a_device_that_is_none_is_not_found(app: WebApp, path: str) -> None:
    admin = app.signed_in(Role.ADMIN)
    if path == "999":
        assert admin.get(f"/devices/{path}").status_code == 404
    assert admin.post(f"/devices/{path}", data=FORM).status_code == 404


def test_a_form_of_another_site_does_nothing(app: WebApp) -> None:
    row = register(app, "CT7")
    admin = app.signed_in(Role.ADMIN)
    assert admin.post(f"/devices/{row}/remove", csrf=False).status_code == 400
    assert one(app, row).ae_title == "CT7"


def test_markup_from_outside_stays_text(app: WebApp) -> None:
    row = knock(app, HOSTILE[:16], called=HOSTILE)
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post("/devices/new", data=FORM | {"location": HOSTILE})
    for page in (admin.get("/devices"), admin.get(f"/devices/knocks/{row}/register"), answer):
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text
