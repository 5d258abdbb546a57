"""Other servers' worklists, brought in: honest ones, and such as lie, break off or hang."""

import socket
import threading
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest

from mwl import audit
from mwl.audit import Wanted
from mwl.config import WorklistSource
from mwl.net.status import PENDING, SUCCESS
from mwl.orders import Action, OrderChange
from mwl.patients import Identifier, PatientChange
from mwl.scp.worklist import WorklistService
from mwl.wlfiles import fetching
from mwl.wlfiles.fetching import Fetcher
from mwl.worklist import apply, manual, sources
from tests.dicom_server import Finder, serve_fixture  # noqa: F401 - a fixture
from tests.identifiers import encoded
from tests.test_mwl_wlfiles import NOW, ZONE, bring, entries, entry, save, serving_wlmscpfs


class Peer:
    """A server whose list, and how it ends, a test sets."""

    def __init__(self):
        self.items = []
        self.status = SUCCESS
        self.asked = 0
        self.drops = False

    def service(self):
        return Finder(self._perform)

    def _perform(self, association, message):
        self.asked += 1
        data = [
            item if isinstance(item, bytes) else encoded(item, explicit=False)
            for item in self.items
        ]
        association.send_responses(message, data, PENDING)
        if self.drops:
            association.abort()
            return
        association.send_response(message, self.status)


@pytest.fixture
def peer(serve):
    """Serve what a test says; `port` is where."""
    scripted = Peer()
    scripted.port = serve(scripted.service()).address[1]
    return scripted


def source(port, **values):
    given = {"name": "ris", "ae_title": "RIS", "host": "127.0.0.1", "port": port}
    return WorklistSource(**{**given, "timeout_s": 5, "missing_s": 0, **values})


def fetch(database, port, *, now=NOW, **values):
    fetcher = Fetcher(database, source(port, **values), "MWL", ZONE)
    return fetcher.fetch(now, at_once=True)


def fetch_twice(database, port, **values):
    """Ask, and again: what is missing from one list may be there in the next."""
    assert fetch(database, port, **values).vanished == 0
    return fetch(database, port, **values)


def states(database):
    return {each["sps_id"]: each["status"] for each in entries(database)}


def told(fetched):
    return {name: count for name, count in fetched.counts.items() if count}


def test_what_is_on_the_list_comes_once(database, peer):
    peer.items = [entry(1), entry(2, PatientName="Иванов^Иван", SpecificCharacterSet="ISO_IR 192")]
    assert told(fetch(database, peer.port)) == {"answers": 2, "new": 2}
    before = entries(database)
    assert [each["patient_name"] for each in before] == ["Müller^Number1", "Иванов^Иван"]
    assert told(fetch(database, peer.port)) == {"answers": 2, "unchanged": 2}
    assert entries(database) == before
    peer.items[0] = entry(1, PatientName="Müller^Changed")
    assert told(fetch(database, peer.port)) == {"answers": 2, "new": 1, "unchanged": 1}
    assert entries(database)[0]["patient_name"] == "Müller^Changed"


def test_what_vanished_is_cancelled_and_what_came_back_is_there_again(database, peer):
    peer.items = [entry(1), entry(2)]
    fetch(database, peer.port)
    peer.items = [entry(2)]
    assert told(fetch(database, peer.port)) == {"answers": 1, "unchanged": 1, "missing": 1}
    assert states(database) == {"SPS1": "SCHEDULED", "SPS2": "SCHEDULED"}
    assert told(fetch(database, peer.port)) == {"answers": 1, "unchanged": 1, "vanished": 1}
    assert states(database) == {"SPS1": "CANCELED", "SPS2": "SCHEDULED"}
    assert told(fetch(database, peer.port)) == {"answers": 1, "unchanged": 1}
    peer.items = [entry(1), entry(2)]
    assert told(fetch(database, peer.port)) == {
        "answers": 2,
        "new": 1,
        "unchanged": 1,
        "returned": 1,
    }
    assert states(database) == {"SPS1": "SCHEDULED", "SPS2": "SCHEDULED"}
    assert entries(database)[0]["flags"] == []


def test_it_stays_where_that_is_wanted(sqlite_database, peer):
    peer.items = [entry(1)]
    fetch(sqlite_database, peer.port)
    peer.items = []
    assert fetch_twice(sqlite_database, peer.port, vanished="keep").vanished == 0
    assert states(sqlite_database) == {"SPS1": "SCHEDULED"}


def test_a_person_has_the_last_word(sqlite_database, peer):
    peer.items = [entry(1), entry(2)]
    fetch(sqlite_database, peer.port)
    which = manual.Which("ACC1")
    sqlite_database.write(lambda session: manual.cancel(session, which, now=NOW))
    assert told(fetch(sqlite_database, peer.port)) == {"answers": 2, "unchanged": 2}
    peer.items[0] = entry(1, PatientName="Müller^Changed")
    fetch(sqlite_database, peer.port)
    assert states(sqlite_database) == {"SPS1": "CANCELED", "SPS2": "SCHEDULED"}


def test_what_was_begun_is_not_cancelled(sqlite_database, peer):
    peer.items = [entry(1)]
    fetch(sqlite_database, peer.port)
    begun = OrderChange(
        sources.order_source("ris"),
        Action.START,
        Identifier("ACC1"),
        PatientChange(Identifier("P1")),
    )
    sqlite_database.write(lambda session: apply(session, begun, now=NOW, zone=ZONE))
    peer.items = []
    assert told(fetch_twice(sqlite_database, peer.port)) == {}
    assert states(sqlite_database) == {"SPS1": "STARTED"}


def test_days_that_are_not_asked_for_prove_nothing(sqlite_database, peer):
    peer.items = [entry(1)]
    fetch(sqlite_database, peer.port)
    peer.items = []
    later = NOW + timedelta(days=30)
    assert told(fetch(sqlite_database, peer.port, now=later)) == {}
    assert states(sqlite_database) == {"SPS1": "SCHEDULED"}


def test_what_was_not_asked_for_is_left_out(sqlite_database, peer):
    peer.items = [
        entry(1, step_ScheduledProcedureStepStartDate="20200102"),
        entry(2, step_Modality="MR"),
        entry(3),
    ]
    fetched = fetch(sqlite_database, peer.port, modality="CT")
    assert told(fetched) == {"answers": 3, "new": 1, "unasked": 2}


def test_what_the_ris_has_sent_itself_is_the_ris_s(sqlite_database, peer, tmp_path):
    save(entry(1), tmp_path / "1.wl")
    bring(sqlite_database, tmp_path)
    peer.items = [entry(1), entry(2)]
    assert told(fetch(sqlite_database, peer.port)) == {"answers": 2, "new": 1, "elsewhere": 1}
    peer.items = []
    assert fetch_twice(sqlite_database, peer.port).vanished == 1
    assert states(sqlite_database) == {"SPS1": "SCHEDULED", "SPS2": "CANCELED"}


def test_the_ris_s_first_message_takes_an_order_over(database, peer):
    numbered = {"FillerOrderNumberImagingServiceRequest": "F1"}
    peer.items = [entry(1, **numbered)]
    fetch(database, peer.port)
    message = OrderChange(
        "RIS^A",
        Action.UPDATE,
        Identifier("F1", "RIS"),
        PatientChange(Identifier("P1")),
        filler=Identifier("F1", "RIS"),
    )
    database.write(lambda session: apply(session, message, now=NOW, zone=ZONE))
    peer.items = []
    assert told(fetch_twice(database, peer.port)) == {}
    assert states(database) == {"SPS1": "SCHEDULED"}


def test_two_worklists_are_told_apart(sqlite_database, peer):
    peer.items = [entry(1, AccessionNumber="A")]
    fetch(sqlite_database, peer.port)
    peer.items = [entry(2, AccessionNumber="A")]
    assert told(fetch(sqlite_database, peer.port, name="other")) == {"answers": 1, "new": 1}
    assert states(sqlite_database) == {"SPS1": "SCHEDULED", "SPS2": "SCHEDULED"}


def test_what_another_worklist_still_has_stays(database, peer):
    both = [entry(1), entry(2)]
    peer.items = both
    fetch(database, peer.port)
    assert fetch(database, peer.port, name="other").elsewhere == 2
    peer.items = both[1:]
    assert told(fetch_twice(database, peer.port)) == {"answers": 1, "unchanged": 1}
    assert states(database) == {"SPS1": "SCHEDULED", "SPS2": "SCHEDULED"}
    fetch(database, peer.port, name="other")
    assert fetch_twice(database, peer.port).vanished == 1
    assert states(database) == {"SPS1": "CANCELED", "SPS2": "SCHEDULED"}


def test_who_is_asked_no_more_keeps_nothing(sqlite_database, peer):
    peer.items = [entry(1)]
    fetch(sqlite_database, peer.port)
    fetch(sqlite_database, peer.port, name="other")
    peer.items = []
    later = NOW + timedelta(days=1, minutes=1)
    assert fetch_twice(sqlite_database, peer.port, now=later).vanished == 1


def test_the_order_s_story_names_the_worklist(sqlite_database, peer):
    peer.items = [entry(1)]
    fetch(sqlite_database, peer.port)
    peer.items = []
    fetch_twice(sqlite_database, peer.port)
    with sqlite_database.read() as session:
        (event,) = audit.listing(session, Wanted(action="cancel"), limit=5)
    assert (event.who, event.subject, event.detail) == ("import:ris", "order:1", {"step": "SPS1"})


def test_the_same_item_twice_is_taken_once(sqlite_database, peer):
    peer.items = [entry(1), entry(1, PatientName="Müller^Other")]
    assert told(fetch(sqlite_database, peer.port)) == {"answers": 2, "new": 1, "doubled": 1}
    assert told(fetch(sqlite_database, peer.port)) == {"answers": 2, "unchanged": 1, "doubled": 1}
    assert entries(sqlite_database)[0]["patient_name"] == "Müller^Number1"


def test_what_nothing_identifies_never_vanishes(sqlite_database, peer):
    peer.items = [entry(1, StudyInstanceUID=""), entry(2, step_ScheduledProcedureStepID="")]
    assert fetch(sqlite_database, peer.port).new == 2
    assert told(fetch(sqlite_database, peer.port)) == {"answers": 2, "unchanged": 2}
    peer.items = []
    assert told(fetch_twice(sqlite_database, peer.port)) == {}
    assert set(states(sqlite_database).values()) == {"SCHEDULED"}


# --- lists that have lost what should stay


def at(minutes):
    return NOW + timedelta(minutes=minutes)


def test_what_is_missing_must_be_so_for_long_enough(sqlite_database, peer):
    peer.items = [entry(1), entry(2)]
    fetch(sqlite_database, peer.port, missing_s=120)
    peer.items = [entry(2)]
    for minutes, vanished in ((1, 0), (2, 0), (2.5, 0), (3, 1)):
        fetched = fetch(sqlite_database, peer.port, now=at(minutes), missing_s=120)
        assert fetched.vanished == vanished


def test_what_is_seen_in_between_has_to_be_missing_anew(database, peer):
    both = [entry(1), entry(2)]
    for minutes, items in enumerate((both, both[1:], both, both[1:])):
        peer.items = items
        assert fetch(database, peer.port, now=at(minutes)).vanished == 0
    assert states(database) == {"SPS1": "SCHEDULED", "SPS2": "SCHEDULED"}


def test_a_list_that_broke_off_is_not_the_second(sqlite_database, peer):
    peer.items = [entry(1), entry(2)]
    fetch(sqlite_database, peer.port)
    peer.items = [entry(2)]
    fetch(sqlite_database, peer.port)
    peer.status = 0xA700
    assert fetch(sqlite_database, peer.port).vanished == 0
    peer.status = SUCCESS
    assert fetch(sqlite_database, peer.port).vanished == 1


def test_an_empty_list_cancels_nothing_until_a_person_says_so(database, peer):
    peer.items = [entry(number) for number in range(1, 4)]
    fetch(database, peer.port)
    peer.items = []
    for minutes in range(5):
        assert told(fetch(database, peer.port, now=at(minutes))) == {"losses": 3}
    assert set(states(database).values()) == {"SCHEDULED"}
    assert "--accept-losses" in sources.troubles(row(database))
    fetcher = Fetcher(database, source(peer.port), "MWL", ZONE)
    assert told(fetcher.fetch(at(6), at_once=True, accept_losses=True)) == {"vanished": 3}
    assert set(states(database).values()) == {"CANCELED"}
    assert told(fetch(database, peer.port, now=at(7))) == {}
    assert sources.troubles(row(database)) == ""


def test_a_list_that_fills_again_is_not_believed_too_early(sqlite_database, peer):
    whole = [entry(number) for number in range(1, 7)]
    bounds = {"lose_items": 2, "lose_part": 0.5}
    peer.items = whole
    fetch(sqlite_database, peer.port, **bounds)
    for minutes, there in enumerate((0, 1, 2), start=1):
        peer.items = whole[:there]
        fetched = fetch(sqlite_database, peer.port, now=at(minutes), **bounds)
        assert (fetched.losses, fetched.missing) == (6 - there, 0)
    peer.items = whole[:4]
    assert fetch(sqlite_database, peer.port, now=at(5), **bounds).missing == 2
    peer.items = whole
    assert told(fetch(sqlite_database, peer.port, now=at(6), **bounds)) == {
        "answers": 6,
        "unchanged": 6,
    }
    assert set(states(sqlite_database).values()) == {"SCHEDULED"}


@pytest.mark.parametrize(
    ("items", "part", "is_believed"), [(3, 0, True), (0, 0.75, True), (2, 0.74, False)]
)
def test_how_much_may_be_lost_is_set(sqlite_database, peer, items, part, is_believed):
    bounds = {"lose_items": items, "lose_part": part}
    peer.items = [entry(number) for number in range(1, 5)]
    fetch(sqlite_database, peer.port)
    peer.items = peer.items[:1]
    assert fetch_twice(sqlite_database, peer.port, **bounds).vanished == 3 * is_believed


def test_a_folder_that_is_gone_costs_no_department_its_day(sqlite_database, tmp_path):
    place = tmp_path / "wlm" / "RIS"
    place.mkdir(parents=True)
    (place / "lockfile").touch()
    for number in range(1, 5):
        save(entry(number), place / f"{number}.wl")
    with serving_wlmscpfs(place.parent, tmp_path) as port:
        assert fetch(sqlite_database, port).new == 4
        for file in place.glob("*.wl"):
            file.unlink()
        assert fetch_twice(sqlite_database, port).losses == 4
    assert set(states(sqlite_database).values()) == {"SCHEDULED"}


def test_who_dies_after_cancelling_still_brings_back(sqlite_database, peer, monkeypatch):
    peer.items = [entry(1), entry(2)]
    fetch(sqlite_database, peer.port)
    peer.items = [entry(2)]
    fetch(sqlite_database, peer.port)

    def die(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sources, "remember", die)
        with pytest.raises(KeyboardInterrupt):
            fetch(sqlite_database, peer.port)
    assert states(sqlite_database)["SPS1"] == "CANCELED"
    peer.items = [entry(1), entry(2)]
    assert fetch(sqlite_database, peer.port).returned == 1
    assert states(sqlite_database)["SPS1"] == "SCHEDULED"


# --- lists that don't come whole


def _fails(peer):
    peer.status = 0xA700


def _refuses(peer):
    peer.status = 0xC001


def _is_cancelled(peer):
    peer.status = 0xFE00


def _breaks_off(peer):
    peer.drops = True


def _talks_rubbish(peer):
    peer.items = [b"\xff" * 64]


def _talks_too_long(peer):
    peer.items = [entry(3, PatientComments="x" * 10_000)] * 40


@pytest.mark.parametrize(
    ("behaves", "says"),
    [
        (_fails, "ended with status A700"),
        (_refuses, "ended with status C001"),
        (_is_cancelled, "ended with status FE00"),
        (_breaks_off, "abort"),
        (_talks_rubbish, "an answer can't be read"),
        (_talks_too_long, "more than 30 answers"),
    ],
)
def test_a_list_that_breaks_off_cancels_nothing(sqlite_database, peer, behaves, says):
    peer.items = [entry(1), entry(2)]
    fetch(sqlite_database, peer.port)
    peer.items = [entry(2), entry(3)]
    behaves(peer)
    fetched = fetch_twice(sqlite_database, peer.port, max_answers=30)
    assert says in fetched.error
    assert fetched.vanished == 0
    assert states(sqlite_database)["SPS1"] == "SCHEDULED"


def test_what_came_before_a_list_broke_off_is_there(sqlite_database, peer):
    peer.items, peer.drops = [entry(1)], True
    assert fetch(sqlite_database, peer.port).new == 1
    assert states(sqlite_database) == {"SPS1": "SCHEDULED"}


def test_an_item_that_is_wrong_costs_no_other(sqlite_database, peer):
    peer.items = [entry(1, PatientID=""), entry(2)]
    fetched = fetch(sqlite_database, peer.port)
    assert told(fetched) == {"answers": 2, "new": 1, "refused": 1}
    assert fetched.problems == ["PatientID: nothing identifies the patient"]
    assert fetched.error == ""


@contextmanager
def silent(after=b""):
    """Take a connection, say `after`, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = []

        def serve():
            connection, _ = listening.accept()
            held.append(connection)
            connection.sendall(after)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x02\0\xff\xff\xff\xff"]
)
def test_who_hangs_or_speaks_another_language_is_left(sqlite_database, said):
    with silent(said) as port:
        fetched = fetch(sqlite_database, port, timeout_s=0.2)
    assert fetched.error.startswith(f"RIS@127.0.0.1:{port}: ")


def test_who_gives_no_worklist_is_told_of(sqlite_database, serve):
    fetched = fetch(sqlite_database, serve().address[1])
    assert "refuses the presentation context" in fetched.error


# --- whose turn it is, and how it went


def row(database):
    with database.read() as session:
        return sources.states(session)["ris"]


def test_failures_are_noted_and_asked_less_and_less_often(database):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    waits = []
    for failures in range(1, 7):
        fetch(database, port)
        assert row(database).failures == failures
        waits.append((row(database).next_at - NOW).total_seconds())
    assert waits == [120, 240, 480, 900, 900, 900]
    assert "refused" in row(database).error
    assert row(database).succeeded_at is None


def test_a_success_forgets_the_failures(database, peer):
    peer.items, peer.status = [entry(1)], 0xA700
    fetch(database, peer.port)
    peer.status = SUCCESS
    fetch(database, peer.port)
    assert (row(database).failures, row(database).error) == (0, "")
    assert row(database).succeeded_at == NOW
    assert row(database).next_at == NOW + timedelta(seconds=60)
    assert row(database).counts["answers"] == 1


def test_one_turn_is_one_node_s(database, peer):
    fetcher = Fetcher(database, source(peer.port), "MWL", ZONE)
    fetcher.sweep(NOW)
    fetcher.sweep(NOW)
    assert fetcher.fetch(NOW) is None
    assert peer.asked == 1
    fetcher.sweep(NOW + timedelta(seconds=61))
    assert peer.asked == 2


def test_a_clock_that_ran_ahead_stops_nothing_for_long(database, peer):
    fetcher = Fetcher(database, source(peer.port), "MWL", ZONE)
    assert fetcher.fetch(NOW + timedelta(days=365)) is not None
    assert fetcher.fetch(NOW) is not None
    assert fetcher.fetch(NOW) is None


def test_who_stops_waits_for_no_answer(sqlite_database, serve, monkeypatch):
    monkeypatch.setattr("mwl.net.association._MEANWHILE_S", 0.01)
    fetcher, gone = None, threading.Event()

    def hang(_association, _message):
        fetcher.stop()
        gone.wait(10)

    port = serve(Finder(hang)).address[1]
    fetcher = Fetcher(sqlite_database, source(port), "MWL", ZONE)
    fetched = fetcher.fetch(NOW)
    gone.set()
    assert fetched.error == f"RIS@127.0.0.1:{port}: we are stopping"
    assert row(sqlite_database).failures == 0
    assert sources.is_due(sqlite_database, "ris", NOW)


def test_a_defect_of_ours_is_noted_too(sqlite_database, peer, monkeypatch):
    def broken(*_args, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(fetching, "change", broken)
    peer.items = [entry(1)]
    assert "an error of ours (ZeroDivisionError)" in fetch(sqlite_database, peer.port).error
    assert row(sqlite_database).failures == 1


# --- side by side


def test_our_own_server_is_a_source_like_others(
    sqlite_database, postgresql_database, serve, tmp_path
):
    for number in (1, 2):
        save(entry(number), tmp_path / f"{number}.wl")
    bring(postgresql_database, tmp_path)
    port = serve(WorklistService(postgresql_database, ZONE, clock=lambda: NOW)).address[1]
    assert told(fetch(sqlite_database, port)) == {"answers": 2, "new": 2}
    assert entries(sqlite_database) == entries(postgresql_database)
    which = manual.Which("ACC1")
    postgresql_database.write(lambda session: manual.cancel(session, which, now=NOW))
    assert told(fetch_twice(sqlite_database, port)) == {"answers": 1, "unchanged": 1, "vanished": 1}


def test_wlmscpfs_is_asked_like_others(sqlite_database, tmp_path):
    place = tmp_path / "wlm" / "RIS"
    place.mkdir(parents=True)
    (place / "lockfile").touch()
    save(entry(1), place / "1.wl")
    save(entry(2, PatientName="Иванов^Иван", SpecificCharacterSet="ISO_IR 192"), place / "2.wl")
    save(entry(3, step_ScheduledProcedureStepStartDate="20310102"), place / "3.wl")
    with serving_wlmscpfs(place.parent, tmp_path) as port:
        assert told(fetch(sqlite_database, port)) == {"answers": 2, "new": 2}
        assert [each["patient_name"] for each in entries(sqlite_database)] == [
            "Müller^Number1",
            "Иванов^Иван",
        ]
        (place / "1.wl").unlink()
        assert told(fetch_twice(sqlite_database, port)) == {
            "answers": 1,
            "unchanged": 1,
            "vanished": 1,
        }


def test_a_name_that_is_tls_is_called_over_tls(sqlite_database, peer):
    fetched = fetch(sqlite_database, peer.port, tls=True, timeout_s=1)
    assert fetched.error != ""
    assert peer.asked == 0
