"""MPPS that came in are forwarded to other PPS managers: queued, sent, answered, decided."""

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from mwl import outbox, procedures, story
from mwl.config import Close, Journal, MppsForward, load
from mwl.db.tables import PerformedStep
from mwl.errors import ConfigError, Rejected
from mwl.net import dimse
from mwl.net.admission import Admission
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from mwl.net.pdu import IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT
from mwl.outbox import Kind, Managers
from mwl.procedures import Effects
from mwl.scp.mpps import MppsService, passed_on, reading
from mwl.scp.mpps.requirements import ASKED_OF_CREATE
from mwl.scu import MppsForwarder
from mwl.tls import Files, Keys
from tests.builders import orm
from tests.certificates import Authority
from tests.committing import register
from tests.department import _create, _set
from tests.dicom_server import serve_fixture  # noqa: F401 - a fixture
from tests.feeding import DELIVERY
from tests.hl7_mapping import BERLIN
from tests.identifiers import encoded
from tests.images import ct_slice
from tests.pps_manager import ABORT, SILENCE, Scripted, by_dcmjs, by_pynetdicom
from tests.scene import Scene
from tests.test_mwl_outbox_courier import process

UID, OTHER = "1.2.9.1", "1.2.9.2"
PATIENCE_S = 30.0
NO_LONGER = {dimse.Element.ERROR_ID: 0xA710}


def to(name="dose", port=1, **more):
    return MppsForward(name=name, ae_title="DOSE", host="127.0.0.1", port=port, **more)


def begun(**changed):
    return _changed(_create(1), changed)


def ended(state="COMPLETED", **changed):
    data = _set(ct_slice(1, SOPInstanceUID="1.2.7.1"))
    data.PerformedProcedureStepStatus = state
    return _changed(data, changed)


def _changed(data, changed):
    for keyword, value in changed.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


class Site:
    """A bridge that takes MPPS, and forwards them by these tables."""

    def __init__(self, database, *tables):
        self.database = database
        self.serve(*tables)
        self.now = datetime(2030, 1, 2, 9, 30, tzinfo=UTC)

    def serve(self, *tables):
        self.effects = Effects(managers=Managers.of(tables))

    def begin(self, uid=UID, calling="CT1", syntax=IMPLICIT, data=None):
        raw = encoded(data or begun(), explicit=syntax == EXPLICIT)
        made = reading.created(raw, syntax, uid, calling)
        self._write(lambda s: procedures.start(s, made, effects=self.effects, now=self._later()))
        return raw

    def set(self, uid=UID, calling="CT1", syntax=IMPLICIT, data=None):
        raw = encoded(data or ended(), explicit=syntax == EXPLICIT)
        made = reading.modified(raw, syntax, uid, calling, dict)
        self._write(lambda s: procedures.update(s, made, effects=self.effects, now=self._later()))
        return raw

    def _write(self, work):
        self.database.write(work)

    def _later(self):
        self.now += timedelta(seconds=1)
        return self.now

    def rows(self):
        with self.database.read() as session:
            found = session.connection().execute(select(DELIVERY).order_by(DELIVERY.c.id))
            return [row for row in found if row.kind == Kind.MPPS]

    def told(self, name="dose"):
        return [(row.payload["event"], row.payload["sop_instance_uid"]) for row in self.to(name)]

    def to(self, name):
        return [row for row in self.rows() if row.destination == name]

    def states(self):
        return [row.state for row in self.rows()]

    def decide(self, action, *ids, **how):
        self.database.write(lambda session: action(session, ids, now=datetime.now(UTC), **how))


@contextmanager
def forwarding(site, *tables, keys=None, **options):
    forwarder = MppsForwarder(tables, site.database, passed_on, calling="BRIDGE", keys=keys)
    options = {"look_s": 0.02, "lease_s": 1, **options}
    courier = outbox.Courier(site.database, {Kind.MPPS: forwarder.deliver}, **options)
    courier.start()
    try:
        yield courier
    finally:
        courier.stop(10)


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def settle(site, *states):
    until(lambda: site.states() == [*states])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("mwl.outbox.courier.backoff_s", lambda attempts: 0.02)


# ---- what is queued


@pytest.mark.parametrize(
    ("devices", "calling", "wanted"),
    [
        ([], "XR7", True),
        (["CT1"], "CT1", True),
        (["CT*"], "CT1", True),
        (["ct1"], " CT1 ", True),
        (["MR1", "CT?"], "CT1", True),
        (["MR*"], "CT1", False),
        (["CT1"], "CT_OLD", True),  # an alias
        (["CT_OLD"], "CT1", True),
    ],
)
def test_a_manager_is_sent_the_mpps_of_its_devices(sqlite_database, devices, calling, wanted):
    register(sqlite_database, "CT1", aliases=("CT_OLD",))
    site = Site(sqlite_database, to(devices=devices))
    site.begin(calling=calling)
    site.set(calling="RELAY")  # whoever goes on with it: it is the same MPPS
    assert site.told() == ([("N-CREATE", UID), ("N-SET", UID)] if wanted else [])


def test_it_is_queued_as_it_came_for_each_in_the_transaction_that_takes_it(database):
    site = Site(database, to("dose"), to("ris"), to("mr", devices=["MR*"]))
    first = site.begin(data=begun(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen"))
    second = site.set(syntax=EXPLICIT)
    created, changed = site.to("dose")
    assert (created.body, changed.body) == (first, second)
    assert created.subject == changed.subject == "mpps:1"
    assert created.payload == {
        "version": 1,
        "event": "N-CREATE",
        "sop_instance_uid": UID,
        "state": "IN PROGRESS",
        "calling": "CT1",
        "transfer_syntax": IMPLICIT,
    }
    assert (changed.payload["state"], changed.payload["transfer_syntax"]) == ("COMPLETED", EXPLICIT)
    assert site.told("ris") == [("N-CREATE", UID), ("N-SET", UID)]
    assert site.to("mr") == []


def test_nothing_is_queued_of_what_is_refused(database):
    site = Site(database, to())
    site.begin()
    with pytest.raises(Rejected):
        site.begin()
    with pytest.raises(Rejected):
        site.set(OTHER)
    site.set()
    with pytest.raises(Rejected):
        site.set()
    assert site.told() == [("N-CREATE", UID), ("N-SET", UID)]


def test_who_comes_later_is_told_from_the_beginning(database):
    site = Site(database, to("old"))
    raw = [site.begin(), site.set(data=ended("IN PROGRESS"))]
    site.serve(to("old"), to("new"))
    raw.append(site.set())
    assert [row.body for row in site.to("old")] == raw
    assert [row.body for row in site.to("new")] == raw
    site.serve()
    site.begin(OTHER)
    assert len(site.rows()) == 6


# ---- what is sent


def test_pynetdicom_is_sent_what_the_scanner_said(database):
    site = Site(database, to())
    name = "Buc^Jérôme"
    raw = [site.begin(data=begun(SpecificCharacterSet="ISO_IR 100", PatientName=name)), site.set()]
    with by_pynetdicom() as manager, forwarding(site, to(port=manager.port)):
        settle(site, "done", "done")
    assert manager.told == [("N-CREATE", UID), ("N-SET", UID)]
    assert [each.raw for each in manager.received] == raw
    created, changed = (each.data_set for each in manager.received)
    assert created.PatientName == name
    assert created.PerformedProcedureStepStatus == "IN PROGRESS"
    assert changed.PerformedProcedureStepStatus == "COMPLETED"
    assert {each.calling for each in manager.received} == {"BRIDGE"}
    assert [bytes(row.answer) for row in site.rows()] == [b"0000", b"0000"]


@pytest.mark.parametrize(("received", "taken"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_who_takes_the_other_vr_alone_gets_the_same_values(sqlite_database, received, taken):
    site = Site(sqlite_database, to())
    data = begun(SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme")
    data.add_new(0x00091001, "UN", b"\1\2\3\4")
    data.add_new(0x00090010, "LO", "ACME")
    site.begin(syntax=received, data=data)
    site.set(syntax=received)
    with by_pynetdicom(taken) as manager, forwarding(site, to(port=manager.port)):
        settle(site, "done", "done")
    assert {each.transfer_syntax for each in manager.received} == {taken}
    created, changed = (each.data_set for each in manager.received)
    assert created.to_json_dict() == data.to_json_dict()
    assert changed.to_json_dict() == ended().to_json_dict()


def test_what_we_overlooked_is_not_passed_on(sqlite_database):
    """PS3.4 table F.7.2-1: all of type 2 is there, and an N-SET states nothing that is fixed."""
    site = Site(sqlite_database, to())
    site.begin(data=begun(PatientSex=None, StudyID=None, ProcedureCodeSequence=None))
    site.set(data=ended(PatientID="OTHER", Modality="MR", ScheduledStepAttributesSequence=[]))
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        settle(site, "done", "done")
    created, changed = (each.data_set for each in manager.received)
    assert [tag for tag in ASKED_OF_CREATE if tag not in created] == []
    assert (created.PatientSex, len(created.ProcedureCodeSequence)) == ("", 0)
    assert created.PatientName == "Doe^Jane^Q"
    assert changed.to_json_dict() == ended().to_json_dict()


def test_dcmjs_takes_them_under_the_scanner_s_own_title(sqlite_database):
    site = Site(sqlite_database, to(calling="scanner"))
    site.begin(calling="CT1")
    site.set(calling="RELAY")
    with by_dcmjs() as (port, line), forwarding(site, to(port=port, calling="scanner")):
        created, changed = line(), line()
        settle(site, "done", "done")
    assert [created["op"], changed["op"]] == ["create", "set"]
    assert (created["uid"], created["calling"], changed["calling"]) == (UID, "CT1", "RELAY")
    step = created["dataset"]["ScheduledStepAttributesSequence"][0]
    assert step["AccessionNumber"] == "ACC1"
    assert changed["dataset"]["PerformedProcedureStepStatus"] == "COMPLETED"


def test_another_bridge_keeps_what_this_one_was_told(sqlite_database, postgresql_database, serve):
    site = Site(sqlite_database, to())
    server = serve(MppsService(postgresql_database, Effects()))
    site.begin()
    site.set()
    with forwarding(site, to(port=server.address[1])):
        settle(site, "done", "done")
    there, here = _performed(postgresql_database), _performed(sqlite_database)
    assert there.pop("ae_title") == "BRIDGE"
    assert here.pop("ae_title") == "CT1"
    assert there == here


def _performed(database):
    table = PerformedStep.__table__
    names = ("sop_instance_uid", "state", "ae_title", "patient_name", "requests", "end_local")
    with database.read() as session:
        row = session.connection().execute(select(*(table.c[name] for name in names))).one()
    return row._asdict()


def test_it_goes_over_tls_to_the_manager_of_the_certificate_alone(sqlite_database, tmp_path):
    authority = Authority(tmp_path, "ca")
    pairs = {name: authority.issue(f"{name}.example") for name in ("dose", "bridge")}
    theirs, ours = (
        Keys(Files(name, pair.certificate, pair.key, ca=authority.certificate), mode)
        for (name, pair), mode in zip(pairs.items(), ("required", "none"), strict=True)
    )
    site = Site(sqlite_database, to())
    site.begin()
    with Scripted(keys=theirs) as manager:
        over_tls = {"port": manager.port, "tls": True}
        with forwarding(site, to(certificate="other.example", **over_tls), keys=ours):
            until(lambda: "not other.example" in site.rows()[0].error)
        assert manager.received == []
        with forwarding(site, to(certificate="dose.example", **over_tls), keys=ours):
            settle(site, "done")
    assert manager.told == [("N-CREATE", UID)]


# ---- what is answered


@pytest.mark.parametrize("answer", [0x0001, 0x0107, 0x0116, 0xB000])
def test_a_warning_is_a_yes(sqlite_database, answer):
    site = Site(sqlite_database, to())
    site.begin()
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers((answer, {dimse.Element.ERROR_COMMENT: "rounded"}))
        settle(site, "done")
    answered = bytes(site.rows()[0].answer).decode()
    assert answered.startswith(f"{answer:04X}, ")
    assert answered.endswith(": rounded")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (0x0112, "0112, it knows no such performed procedure step"),
        (0x0110, "0110, processing failure"),
        ((0x0110, NO_LONGER), "0110, processing failure (A710, it may no longer be updated)"),
        (0x0124, "0124, not authorized"),
        (0xC123, "C123, a status that MPPS does not define"),
        (
            (0x0120, {dimse.Element.ATTRIBUTE_IDENTIFIER_LIST: b"\x10\0\x30\0\x10\0\x40\0"}),
            "0120, missing attribute (0010,0030) (0010,0040)",
        ),
    ],
)
def test_a_refusal_is_parked_in_words_and_its_comment_is_for_people(database, answer, error):
    site = Site(database, to())
    site.begin()
    site.begin(OTHER)
    code, more = answer if isinstance(answer, tuple) else (answer, {})
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers((code, {**more, dimse.Element.ERROR_COMMENT: "Doe^Jane\x1b[31m unknown"}))
        settle(site, "parked", "done")
    (row, _) = site.rows()
    assert row.error == f"answered N-CREATE with {error}"
    assert bytes(row.answer).decode() == f"{error}: Doe^Jane[31m unknown"


@pytest.mark.parametrize("trouble", [0x0210, 0x0213, ABORT])
def test_passing_trouble_is_met_with_the_same_again_and_in_order(sqlite_database, trouble):
    site = Site(sqlite_database, to())
    site.begin()
    site.set()
    site.begin(OTHER)
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(trouble, trouble)
        settle(site, "done", "done", "done")
    assert manager.told == [*[("N-CREATE", UID)] * 3, ("N-SET", UID), ("N-CREATE", OTHER)]
    assert len({each.raw for each in manager.received[:3]}) == 1


def test_who_does_not_answer_is_asked_again(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    with Scripted() as manager, forwarding(site, to(port=manager.port, response_timeout_s=0.2)):
        manager.answers(SILENCE)
        settle(site, "done")
    assert manager.told == [("N-CREATE", UID)] * 2


def test_who_never_answers_holds_up_the_others_for_an_hour_at_most(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    site.begin(OTHER)
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(*[ABORT] * 20)
        settle(site, "parked", "done")
    assert manager.told == [*[("N-CREATE", UID)] * 20, ("N-CREATE", OTHER)]
    assert "N-CREATE was not answered: the peer aborted" in site.rows()[0].error


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"says": Admission.CALLING_UNKNOWN}, "calling AE title not recognised"),
        ({"says": Admission.BUSY}, "it is too busy just now"),
        ({"title": "RIS"}, "called AE title not recognised"),
        ({"abstract_syntaxes": ("1.2.3",)}, "does not take MPPS on this port"),
        ({"transfer_syntaxes": ("1.2.840.10008.1.2.2",)}, "does not take MPPS on this port"),
    ],
)
def test_who_does_not_let_us_in_is_asked_until_it_does(sqlite_database, how, error):
    site = Site(sqlite_database, to())
    site.begin()
    with Scripted(**how) as closed, forwarding(site, to(port=closed.port)):
        until(lambda: error in site.rows()[0].error)
    assert site.rows()[0].error.startswith(f"DOSE@127.0.0.1:{closed.port}: ")
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        settle(site, "done")


def test_who_is_down_is_told_when_it_is_up(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    with Scripted() as gone:
        pass
    with forwarding(site, to(port=gone.port)):
        until(lambda: "can't be reached" in site.rows()[0].error)
        with Scripted(port=gone.port):
            settle(site, "done")


def test_what_was_taken_and_not_answered_is_no_fault_the_second_time(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    site.set()
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(ABORT, 0x0111, ABORT, (0x0110, NO_LONGER))
        settle(site, "done", "done")
    assert manager.told == [*[("N-CREATE", UID)] * 2, *[("N-SET", UID)] * 2]


def test_what_somebody_else_ended_is_a_person_s(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    site.set(data=ended("IN PROGRESS"))
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(0x0000, 0x0213, (0x0110, NO_LONGER))
        settle(site, "done", "parked")


# ---- what a person decides


def test_an_n_set_waits_for_its_n_create_and_for_no_other(database):
    site = Site(database, to())
    site.begin()
    site.set()
    site.begin(OTHER)
    with Scripted() as manager, forwarding(site, to(port=manager.port)) as courier:
        manager.answers(0x0112)
        settle(site, "parked", "blocked", "done")
        with pytest.raises(Rejected, match="as it came"):
            site.decide(outbox.resend, 1, anew=True)
        site.decide(outbox.resend, 1)
        courier.wake()
        settle(site, "done", "done", "done")
    assert manager.told == [
        *(("N-CREATE", UID), ("N-CREATE", OTHER)),
        *(("N-CREATE", UID), ("N-SET", UID)),
    ]


def test_an_n_set_does_not_go_without_its_n_create(sqlite_database):
    site = Site(sqlite_database, to())
    site.begin()
    site.set()
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(0x0112)
        settle(site, "parked", "blocked")
        site.decide(outbox.drop, 1)
        settle(site, "dropped", "parked")
        assert "its N-CREATE was dropped" in site.rows()[1].error
        site.decide(outbox.resend, 1)
        settle(site, "done", "parked")
        site.decide(outbox.resend, 2)
        settle(site, "done", "done")
    assert manager.told == [*[("N-CREATE", UID)] * 2, ("N-SET", UID)]


def test_a_manager_that_left_the_settings_has_its_messages_parked(sqlite_database):
    site = Site(sqlite_database, to("gone"))
    site.begin()
    with forwarding(site):
        settle(site, "parked")
    assert "no [[mpps.forward]] of this name" in site.rows()[0].error


def test_an_order_s_story_says_who_was_sent_its_mpps(sqlite_database, tmp_path):
    scene = Scene(sqlite_database, tmp_path)
    scene.effects = replace(scene.effects, managers=Managers.of([to()]))
    scene.hear(orm())
    scene.begin()
    scene.end()
    with sqlite_database.read() as session:
        told = story.tell(session, 1, Close(), now=scene.now, zone=BERLIN)
    entries = [each for each in told.entries if each.kind is story.Kind.FORWARDED]
    assert [(each.text, each.state) for each in entries] == [
        ("dose is to be sent N-CREATE (IN PROGRESS) of CT1", "waiting"),
        ("dose is to be sent N-SET (COMPLETED) of CT1", "waiting"),
    ]


def test_what_was_forwarded_goes_with_its_time_and_what_waits_stays(database):
    site = Site(database, to())
    site.begin()
    site.begin(OTHER)
    done = update(DELIVERY).where(DELIVERY.c.id == 1).values(state="done")
    database.write(lambda session: session.connection().execute(done))
    for days, left in ((89, [UID, OTHER]), (91, [OTHER])):
        outbox.clear(database, Journal(keep_days=90), site.now + timedelta(days=days))
        assert [uid for _, uid in site.told()] == left
    # Whose N-CREATE is gone here is told from the beginning; what was taken is there already.
    site.set()
    assert site.told() == [("N-CREATE", OTHER), ("N-CREATE", UID), ("N-SET", UID)]
    with Scripted() as manager, forwarding(site, to(port=manager.port)):
        manager.answers(0x0000, 0x0111)
        settle(site, "done", "done", "done")


# ---- the settings, and the program


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('name = "ris"\nae_title = "A"\nhost = "h"\nport = 1', "'ris' is there twice, .*included"),
        ('name = "a"\nhost = "h"\nport = 1', r"mpps.forward.1..ae_title: is missing"),
        ('name = "a"\nae_title = "A"\nhost = "h"\nport = 1\ncalling = "CT1"', "calling"),
        ('name = "a"\nae_title = "A"\nhost = "h"\nport = 1\ndevices = "CT1"', r'like \["CT1"\]'),
        ('name = "a"\nae_title = "A"\nhost = "h"\nport = 1\ndevice = "x"', "did you mean devices"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, wrong):
    file = tmp_path / "mwl.toml"
    ris = '[[hl7.destination]]\nname = "ris"\nhost = "h"\nport = 1\n'
    file.write_text(f"{ris}[[mpps.forward]]\n{text}\n")
    with pytest.raises(ConfigError, match=wrong):
        load(file, environ={})


def test_kill_9_between_loses_nothing_and_keeps_the_order(database, database_url, tmp_path):
    site = Site(database, to("ris0"))
    uids = [f"1.2.9.{number}" for number in range(1, 13)]
    for uid in uids:
        site.begin(uid)
        site.set(uid)
    sent = [(name, uid) for uid in uids for name in ("N-CREATE", "N-SET")]
    with Scripted() as manager:
        for count in (5, 13):
            with process(database_url, tmp_path, manager) as victim:
                until(lambda count=count: len(manager.received) >= count)
                victim.kill()
        with process(database_url, tmp_path, manager):
            settle(site, *["done"] * 24)
    assert list(dict.fromkeys(manager.told)) == sent  # some may have come twice …
    assert manager.told == sorted(manager.told, key=sent.index)  # … one right after the other
    assert len(manager.told) <= 26
