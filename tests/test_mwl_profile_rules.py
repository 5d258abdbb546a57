"""What a mapping profile says of its orders: what giving one up means, where images go."""

from datetime import timedelta

import pytest
from sqlmodel import SQLModel, select

from hl7.inbound import Inbound
from mwl import closing, devices, procedures, story
from mwl.closing_rules import UNLINKED
from mwl.config import Close, DeviceTable, Settings
from mwl.errors import ConfigError
from mwl.performed import Created, Listed, Modified, PerformedState, Request
from mwl.roles.following import close_rules, effects
from mwl.roles.profiles import mapping_profiles
from tests.builders import omi, orm
from tests.closing_rows import store
from tests.hl7_mapping import BERLIN
from tests.worklist_rows import NOW

STUDY = "1.2.826.0.1.3680043.8.498.1"
IMPLICIT = "1.2.840.10008.1.2"
CANCELLED = "110500^DCM^Doctor canceled procedure"
WRONG = "110514^DCM^Incorrect worklist entry selected"
OWN = """
extends = "default"
[discontinued]
110500 = "canceled"
110514 = "discontinued"
"X1^99LOCAL" = "scheduled"
"-" = "canceled"
[close]
images = "elsewhere"
"""


class Site:
    """A site whose feed RIS2 has a profile of its own."""

    def __init__(self, database, folder):
        (folder / "profiles").mkdir()
        (folder / "profiles" / "own.toml").write_text(OWN)
        own = {"name": "RIS2^*", "profile": "own"}
        told = {"name": "ris", "host": "ris", "port": 2575}
        given = {"profiles": "profiles", "source": [own], "destination": [told]}
        self.settings = Settings(data_dir=folder, hl7=given)
        self.database, self.effects = database, effects(self.settings)
        self.inbound = Inbound(database, mapping_profiles(self.settings), told=self.effects.told)

    def hear(self, text):
        assert b"MSA|AA" in self.inbound.receive(text.encode(), "10.0.0.7:52011")

    def scan(self, state, reason="", uid="1.2.9", listed=(), by="CT1", request=("SPS1", STUDY)):
        sps, study = request
        made = Created(uid, by, IMPLICIT, b"", (Request(study, sps, "ACC1"),), patient_id="PID1")
        self.write(procedures.start, made, NOW)
        ended = Modified(uid, by, IMPLICIT, b"", state, reason, listed=listed)
        self.write(procedures.update, ended, NOW + timedelta(minutes=5))

    def write(self, do, what, now):
        self.database.write(lambda session: do(session, what, effects=self.effects, now=now))

    def sweep(self, **later):
        now = NOW + timedelta(**later)
        closing.sweep(self.database, close_rules(self.settings), now, self.effects.told)

    def device(self, **given):
        table = DeviceTable(**given)
        self.database.write(lambda session: devices.add(session, table, now=NOW))

    def column(self, table, name):
        it = SQLModel.metadata.tables[table]
        with self.database.read() as session:
            return list(
                session.connection().execute(select(it.c[name]).order_by(it.c.id)).scalars()
            )

    @property
    def state(self):
        return (*self.column("scheduled_step", "state"), *self.column("imaging_order", "status"))

    @property
    def news(self):
        return [payload["event"] for payload in self.column("delivery", "payload")]


@pytest.fixture
def site(database, tmp_path):
    return Site(database, tmp_path)


@pytest.mark.parametrize(
    ("sender", "reason", "state", "news"),
    [
        ("RIS", CANCELLED, ("DISCONTINUED", "DISCONTINUED"), ["IP", "DC"]),
        ("RIS", WRONG, ("SCHEDULED", "SCHEDULED"), ["IP"]),
        ("RIS", "", ("DISCONTINUED", "DISCONTINUED"), ["IP", "DC"]),
        ("RIS2", CANCELLED, ("CANCELED", "CANCELED"), ["IP", "CA"]),
        ("RIS2", WRONG, ("DISCONTINUED", "DISCONTINUED"), ["IP", "DC"]),
        ("RIS2", "X1^99LOCAL^Room taken", ("SCHEDULED", "SCHEDULED"), ["IP"]),
        ("RIS2", "110513^DCM^", ("DISCONTINUED", "DISCONTINUED"), ["IP", "DC"]),
        ("RIS2", "", ("CANCELED", "CANCELED"), ["IP", "CA"]),
    ],
)
def test_what_a_scanner_gives_up_becomes_what_its_feed_reads(site, sender, reason, state, news):
    site.hear(orm(MSH_3=sender))
    site.scan(PerformedState.DISCONTINUED, reason)
    assert (site.state, site.news) == (state, news)


def test_what_was_cancelled_by_a_scanner_a_scanner_may_complete(site):
    site.hear(orm(MSH_3="RIS2"))
    site.scan(PerformedState.DISCONTINUED, CANCELLED)
    site.scan(PerformedState.COMPLETED, uid="1.2.10")
    assert site.state[0] == "COMPLETED"
    assert site.news == ["IP", "CA", "IP", "CM"]


def test_the_images_of_a_wrong_entry_wait_for_a_person_whatever_becomes_of_its_step(site):
    site.hear(orm(MSH_3="RIS2"))
    site.scan(PerformedState.DISCONTINUED, WRONG)
    assert any("wrong worklist entry" in flag for flag in site.column("performed_step", "flags")[0])


def test_an_mpps_of_two_orders_is_read_as_each_of_their_feeds_reads_it(site):
    site.hear(orm(MSH_3="RIS"))
    other = {"ORC_3": "FO2^RIS2", "OBR_3": "FO2^RIS2", "OBR_18": "ACC2", "OBR_20": "SPS2"}
    site.hear(orm(MSH_3="RIS2", **other, ORC_2="PO2^RIS2", OBR_2="PO2^RIS2", ZDS_1=f"{STUDY}2"))
    both = (Request(STUDY, "SPS1"), Request(f"{STUDY}2", "SPS2"))
    site.write(procedures.start, Created("1.2.9", "CT1", IMPLICIT, b"", both), NOW)
    ended = Modified("1.2.9", "CT1", IMPLICIT, b"", PerformedState.DISCONTINUED, CANCELLED)
    site.write(procedures.update, ended, NOW)
    assert site.column("scheduled_step", "state") == ["DISCONTINUED", "CANCELED"]
    assert site.column("imaging_order", "status") == ["DISCONTINUED", "CANCELED"]
    assert site.column("imaging_order", "profile") == ["default", "own"]
    subjects = [*zip(site.column("delivery", "subject"), site.news, strict=True)]
    one, two = (f"order:{row}" for row in site.column("imaging_order", "id"))
    assert subjects == [(one, "IP"), (two, "IP"), (one, "DC"), (two, "CA")]


# ---- where images go: the scanner says, else the profile, else the site

LISTED = (Listed("1.2.840.10008.5.1.4.1.1.2", "1.2.9.1"),)


@pytest.mark.parametrize(
    ("sender", "device", "closed_by"),
    [
        ("RIS", "", ""),
        ("RIS", "here", ""),
        ("RIS", "elsewhere", "elsewhere"),
        ("RIS2", "", "elsewhere"),
        ("RIS2", "here", ""),
        ("RIS2", "elsewhere", "elsewhere"),
    ],
)
def test_a_scanner_goes_before_the_profile_and_that_before_the_site(
    site, sender, device, closed_by
):
    site.device(ae_title="CT1", close_images=device)
    site.hear(orm(MSH_3=sender))
    site.scan(PerformedState.COMPLETED, listed=LISTED, by="ct1")
    assert site.column("imaging_order", "closed_by") == [closed_by]
    assert site.state[1] == ("CLOSED" if closed_by else "COMPLETED")
    site.sweep(hours=1)
    assert site.column("imaging_order", "closed_by") == [closed_by]


def test_scanners_that_differ_leave_a_step_to_where_images_are_waited_for(site):
    site.device(ae_title="CT1", close_images="elsewhere")
    site.device(ae_title="CT2", close_images="here")
    site.hear(orm(MSH_3="RIS"))
    begun = Created("1.2.10", "CT2", IMPLICIT, b"", (Request(STUDY, "SPS1"),))
    site.write(procedures.start, begun, NOW)
    site.scan(PerformedState.COMPLETED, listed=LISTED)
    ended = Modified("1.2.10", "CT2", IMPLICIT, b"", PerformedState.COMPLETED, listed=LISTED)
    site.write(procedures.update, ended, NOW)
    site.sweep(minutes=10)
    assert site.column("imaging_order", "closed_by") == [""]


def test_what_goes_elsewhere_is_not_asked_for_beside_what_does_not(site):
    site.device(ae_title="CT1", close_images="elsewhere")
    site.hear(omi(IPC=[f"IPC|ACC1|RP1|{STUDY}|SPS{n}|CT|P{n}^Part^99RIS" for n in (1, 2)]))
    never_here = (LISTED[0], Listed(LISTED[0].sop_class_uid, "1.2.9.2"))
    site.scan(PerformedState.COMPLETED, listed=never_here, request=("SPS1", STUDY))
    site.scan(PerformedState.COMPLETED, "", "1.2.10", LISTED, "CT2", ("SPS2", STUDY))
    site.database.write(lambda s: store(s, LISTED[0].sop_instance_uid, "1.2.3", at=NOW))
    site.sweep(hours=30)
    assert site.column("imaging_order", "flags") == [[UNLINKED]]


def test_a_profile_that_says_it_wrongly_is_refused_with_file_and_line(tmp_path):
    folder = tmp_path / "profiles"
    folder.mkdir()
    settings = Settings(data_dir=tmp_path, hl7={"profiles": "profiles", "profile": "own"})
    for text, where in (
        ('[discontinued]\n110500 = "lost"', r"own.toml:3: \[discontinued\] 110500: must be one of"),
        ('[discontinued]\n"^99X" = "canceled"', r'\[discontinued\] \^99X: must be "code" of DCM'),
        ('[close]\nimages = "there"', r"own.toml:3: \[close\] images"),
        ('[discontinued]\n"9" = ""', r"\[discontinued\] 9: is not in what this profile extends"),
    ):
        (folder / "own.toml").write_text(f'extends = "default"\n{text}\n')
        with pytest.raises(ConfigError, match=where):
            effects(settings)


def test_a_story_tells_whose_images_are_waited_for_and_whose_are_not(sqlite_database, tmp_path):
    site = Site(sqlite_database, tmp_path)
    site.device(ae_title="CT1", close_images="elsewhere")
    steps = [f"IPC|ACC1|RP1|{STUDY}|SPS{n}|CT|P{n}^Part^99RIS" for n in (1, 2)]
    site.hear(omi(IPC=steps))
    site.scan(PerformedState.COMPLETED, listed=LISTED, request=("SPS1", STUDY))
    site.scan(PerformedState.COMPLETED, "", "1.2.10", LISTED, "CT2", ("SPS2", STUDY))

    def told(close):
        with site.database.read() as session:
            return story.tell(session, 1, close, now=NOW, zone=BERLIN)

    found = told(close_rules(site.settings)).outlook
    assert found.text == "Completed; it closes when its images are here."
    assert found.points == [
        (
            "step SPS1: completed, and its images go to another archive: "
            "its scanner is one whose images do (close_images)"
        ),
        ("step SPS2: 0 of 1 listed images are here; 1 image of series (unnamed) not received"),
        (
            "waited for since 2030-01-02 09:05; "
            "if not all is here by 2030-01-03 09:05, a person is asked"
        ),
    ]
    elsewhere = Close(images="elsewhere")
    assert told(elsewhere).outlook.text == "Closes within seconds."
    closing.follow(site.database, elsewhere, NOW + timedelta(hours=1), site.effects.told)
    found = told(elsewhere)
    assert found.outlook.text.endswith("it was completed, and images of it go to another archive.")
    closed = "closed: it was completed, and images of it go to another archive"
    assert closed in [entry.text for entry in found.entries]
