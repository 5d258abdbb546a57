"""The outbox's pages: what waits and why, one delivery, and a person's decisions."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event, insert, update

from hl7 import profile
from hl7.inbound import Inbound
from hl7.profiles import Profiles
from mwl import audit, outbox
from mwl.accounts import Role
from mwl.audit import Wanted
from mwl.config import Forward
from mwl.db import Database
from mwl.db.tables import Commitment, CommitmentItem
from mwl.errors import Rejected
from mwl.outbox import Forwards, inspection
from tests.builders import adt_a08, orm
from tests.feeding import DELIVERY, Feed
from tests.hl7_mapping import BERLIN, DEFAULT
from tests.test_mwl_mpps_forwarding import UID, Site, begun, to
from tests.web_app import WebApp

BODY = orm(MSH_10="OUT1", ORC_1="SC", ORC_5="CM", PID_5="Müller^Jürgen").encode()
REFUSED = b"MSH|^~\\&|RIS|H|MWL|R|20300101||ACK|A1|P|2.5.1\rMSA|AE|OUT1|no such order\r"


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    return WebApp(database, tmp_path)


@pytest.fixture
def feed(app: WebApp) -> Feed:
    """A RIS whose order ACC1 is known."""
    feed = Feed(app.database, now=app.now)
    feed.send(orm())
    return feed


def states(feed: Feed) -> list[str]:
    return [row.state for row in feed.rows(DELIVERY)]


def events(app: WebApp, action: str) -> list[tuple[str, str, dict]]:
    with app.database.read() as session:
        found = audit.listing(session, Wanted(action=action), limit=50)
    return [(event.who, event.subject, event.detail) for event in found]


def listed(**criteria: str) -> partial:
    return partial(inspection.page, **criteria, after=100, limit=51)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_list_shows_what_waits_and_why(app, feed):
    feed.tell("IP", state="parked", error="answered AE, 204 at ORC-2", attempts=1)
    feed.tell("CM")
    page = squeezed(app.signed_in().get("/deliveries").text)
    assert "1 blocked" in page
    assert "1 parked" in page
    assert "0 waiting" in page
    assert "answered AE, 204 at ORC-2" in page
    assert page.index("completed") < page.index("in progress")
    assert '<a href="/orders/1">ACC1</a>' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [4, 3, 2, 1]),
        ("state=parked", [1]),
        ("state=done", [3]),
        ("state=PARKED", [1]),
        ("destination=PACS", [4]),
        ("destination=PACS&state=done", []),
        ("state=blocked&destination=RIS", [2]),
    ],
)
def test_filters_stand_in_the_url(app, feed, query, found):
    feed.tell("IP", state="parked")
    feed.tell("CM")
    feed.tell("DC", state="done")
    feed.tell("CM", destination="PACS")
    table = app.signed_in().get(f"/deliveries?{query}").text.partition("<tbody>")[2]
    rows = [int(part.split('"')[0]) for part in table.split('href="/deliveries/')[1:]]
    assert rows == found


def test_pages_go_further_and_back(app, feed):
    for _ in range(60):
        feed.tell("IP")
    person = app.signed_in()
    first = person.get("/deliveries?state=waiting").text
    assert "/deliveries/60" in first
    further = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = person.get(f"/deliveries{further}").text
    assert "/deliveries/10" in second
    assert "/deliveries/11" not in second
    back = second.split('rel="prev" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "/deliveries/60" in person.get(f"/deliveries{back}").text


@pytest.mark.parametrize("query", ["after=x", "before=1~2"])
def test_a_place_that_is_none_is_told(app, query):
    assert app.signed_in().get(f"/deliveries?{query}").status_code == 400


def test_a_delivery_is_shown_with_its_message_and_the_answer(app, feed):
    row = feed.tell(
        "CM",
        state="parked",
        control_id="OUT1",
        body=BODY,
        answer=REFUSED,
        error="answered AE",
        attempts=3,
    )
    page = squeezed(app.signed_in().get(f"/deliveries/{row}").text)
    assert "To RIS: completed" in page
    assert "Order control" in page  # the tree
    assert "Müller" in page
    assert "no such order" in page  # the answer
    assert "<dd>3</dd>" in page
    assert '<a href="/orders/1">ACC1</a>' in page


def test_what_is_not_written_yet_shows_what_it_will_tell(app, feed):
    row = feed.tell("IP")
    page = app.signed_in().get(f"/deliveries/{row}").text
    assert "not written yet" in page
    assert "accession_number&#34;: &#34;ACC1" in page


@pytest.fixture
def mpps(app: WebApp) -> Site:
    """An MPPS of a scanner that is forwarded: N-CREATE and N-SET, both waiting."""
    site = Site(app.database, to("dose"))
    site.begin(data=begun(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen"))
    site.set()
    return site


def test_a_forwarded_mpps_is_shown_as_it_came_with_the_answer(app, mpps):
    refused = {"state": "parked", "error": "answered N-CREATE with 0110, processing failure"}
    answer = {"answer": b"0110, processing failure: no such order"}
    first = update(DELIVERY).where(DELIVERY.c.id == 1).values(**refused, **answer)
    app.database.write(lambda session: session.connection().execute(first))
    person = app.signed_in(Role.ADMIN)
    listed = squeezed(person.get("/deliveries").text)
    assert "N-SET COMPLETED of CT1, forwarded" in listed
    assert f'<a class="text-nowrap" href="/mpps?text={UID}">MPPS</a>' in listed
    page = squeezed(person.get("/deliveries/1").text)
    assert "To dose: N-CREATE IN PROGRESS of CT1, forwarded" in page
    assert "PerformedProcedureStepStatus" in page
    assert "Müller^Jürgen" in page
    assert "processing failure: no such order" in page
    assert "Others about the same MPPS" in page
    assert "Send again" in page
    assert "Write anew" not in page
    unreadable = update(DELIVERY).where(DELIVERY.c.id == 2).values(body=b"\x08\0")
    app.database.write(lambda session: session.connection().execute(unreadable))
    assert "be read: cut short." in person.get("/deliveries/2").text


def test_a_blocked_one_leads_to_what_it_waits_for_and_back(app, feed):
    parked = feed.tell("IP", state="parked")
    blocked = feed.tell("CM")
    person = app.signed_in(Role.ADMIN)
    page = squeezed(person.get(f"/deliveries/{blocked}").text)
    assert f'<a href="/deliveries/{parked}">decide for that one</a>' in page
    assert "Send again" not in page
    page = squeezed(person.get(f"/deliveries/{parked}").text)
    assert "waits for this one" in page


def test_one_that_waits_tells_what_is_before_and_behind_it(app, feed):
    rows = [feed.tell("IP"), feed.tell("CM"), feed.tell("DC")]
    feed.tell("IP", destination="PACS")
    person = app.signed_in()
    assert "2 wait in the same queue" in squeezed(person.get(f"/deliveries/{rows[0]}").text)
    page = squeezed(person.get(f"/deliveries/{rows[1]}").text)
    assert "1 waits before it" in page
    assert "1 waits in the same queue" in page


def test_the_list_says_why_a_queue_stands_still(app, feed):
    first = feed.tell("IP", error="nobody listens at 10.0.0.5:2576", attempts=3)
    feed.tell("CM"), feed.tell("IP", destination="PACS")
    page = squeezed(app.signed_in().get("/deliveries?destination=PACS").text)
    assert "RIS: nobody listens at 10.0.0.5:2576." in page
    assert f'href="/deliveries/{first}">The first that waits</a>' in page
    assert "PACS:" not in page


def test_what_is_on_its_way_says_so(app, feed):
    until = app.now + timedelta(seconds=15)
    row = feed.tell("IP", claimed_by="courier", claimed_until=until)
    person = app.signed_in(Role.ADMIN)
    assert "on its way" in person.get("/deliveries").text
    refused = person.post(f"/deliveries/{row}/drop")
    assert (refused.status_code, "on its way just now" in refused.text) == (409, True)
    assert events(app, "drop") == []


@pytest.fixture
def report(app: WebApp) -> int:
    """A commitment report that waits: one instance committed, one not here; its delivery."""
    now = app.now

    def work(session):
        conn = session.connection()
        request = {
            "transaction_uid": "1.2.3.4",
            "items_digest": b"x",
            "ae_title": "CT1",
            "called_ae_title": "MWL",
            "state": "queued",
            "may_call": True,
            "held_by": "",
            "claimed_by": "",
            "received_at": now,
            "wait_until": now,
            "next_at": now,
        }
        conn.execute(insert(Commitment.__table__).values(**request))
        for number, failure in enumerate((0, 0x0112)):
            conn.execute(
                insert(CommitmentItem.__table__).values(
                    commitment=1,
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    sop_instance_uid=f"1.2.9.{number}",
                    failure=failure,
                )
            )
        outbox.enqueue(
            session,
            kind=outbox.Kind.COMMITMENT_REPORT,
            destination="CT1",
            subject="commitment:1",
            payload={"commitment": 1},
            now=now,
        )

    app.database.write(work)
    return 1


def test_a_commitment_report_shows_what_it_says(app, report):
    person = app.signed_in(Role.ADMIN)
    assert "storage commitment" in person.get("/deliveries").text
    page = squeezed(person.get(f"/deliveries/{report}").text)
    assert "1.2.3.4" in page
    assert '<td class="mono">1.2.9.0</td><td data-label="Result">committed</td>' in page
    assert "0112" in page
    assert "not here" in page
    assert "Write anew" not in page


@pytest.mark.parametrize("act", ["resend", "drop"])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.TECHNOLOGIST])
def test_deciding_is_for_administrators(app, feed, act, role):
    row = feed.tell("IP", state="parked")
    person = app.signed_in(role)
    assert "Send again" not in person.get(f"/deliveries/{row}").text
    assert person.post(f"/deliveries/{row}/{act}").status_code == 403
    assert states(feed) == ["parked"]


@pytest.mark.parametrize("act", ["resend", "drop"])
def test_deciding_needs_the_form_s_token(app, feed, act):
    row = feed.tell("IP", state="parked")
    answer = app.signed_in(Role.ADMIN).post(f"/deliveries/{row}/{act}", csrf=False)
    assert answer.status_code == 400
    assert states(feed) == ["parked"]


def test_sending_again_keeps_the_bytes_and_is_audited(app, feed):
    row = feed.tell("IP", state="parked", control_id="OUT1", body=BODY)
    feed.tell("CM")
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post(f"/deliveries/{row}/resend")
    assert answer.location == f"/deliveries/{row}"
    assert "waits to be sent again" in admin.get(answer.location).text
    assert states(feed) == ["waiting", "waiting"]  # what waited behind it goes on
    assert bytes(feed.rows(DELIVERY)[0].body) == BODY
    assert events(app, "resend") == [("admin", f"delivery:{row}", {"anew": False})]


def test_writing_anew_forgets_the_bytes_and_is_audited(app, feed):
    row = feed.tell("IP", state="parked", control_id="OUT1", body=BODY)
    admin = app.signed_in(Role.ADMIN)
    admin.post(f"/deliveries/{row}/resend", data={"anew": "1"})
    (kept,) = feed.rows(DELIVERY)
    assert (kept.state, kept.control_id, bytes(kept.body)) == ("waiting", "", b"")
    assert events(app, "resend") == [("admin", f"delivery:{row}", {"anew": True})]


def test_dropping_lets_go_what_waits_behind_and_is_audited(app, feed):
    row = feed.tell("IP", state="parked")
    feed.tell("CM")
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post(f"/deliveries/{row}/drop")
    assert "It is dropped" in admin.get(answer.location).text
    assert states(feed) == ["dropped", "waiting"]
    assert events(app, "drop") == [("admin", f"delivery:{row}", {})]


def test_what_can_t_be_done_changes_nothing_and_is_told(app, feed):
    row = feed.tell("IP", state="done")
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post(f"/deliveries/{row}/drop")
    assert (answer.status_code, "done or dropped already" in answer.text) == (409, True)
    assert states(feed) == ["done"]
    assert events(app, "drop") == []


@pytest.mark.parametrize("path", ["/deliveries/4711", "/deliveries/99999999999"])
def test_there_is_no_other_delivery(app, path):
    assert app.signed_in(Role.ADMIN).get(path).status_code == 404


@pytest.mark.parametrize("act", ["resend", "drop"])
def test_there_is_nothing_to_decide_for_no_delivery(app, act):
    assert app.signed_in(Role.ADMIN).post(f"/deliveries/4711/{act}").status_code == 404


def test_looking_is_audited(app, feed):
    row = feed.tell("IP")
    person = app.signed_in()
    person.get("/deliveries?state=waiting")
    person.get(f"/deliveries/{row}")
    found = [(subject, detail) for _, subject, detail in events(app, "view")]
    assert found == [(f"delivery:{row}", {}), ("deliveries", {"state": "waiting"})]


def test_markup_from_outside_stays_text(app, feed):
    evil = "<img src=x onerror=alert(1)>'\""
    ack = REFUSED.replace(b"no such order", evil.encode())
    row = feed.tell(
        "CM",
        destination=evil,
        state="parked",
        body=orm(PID_5=evil).encode(),
        answer=ack,
        error=evil,
        control_id=evil,
        payload={"event": evil, "procedures": [{"accession_number": evil}]},
    )
    bare = feed.tell("IP", payload={"event": evil, "patient": {"patient_name": evil}})
    person = app.signed_in(Role.ADMIN)
    for path in ("/deliveries", f"/deliveries/{row}", f"/deliveries/{bare}"):
        page = person.get(path).text
        assert "<img" not in page
        assert "&lt;img src=x" in page


def test_counts_and_destinations_go_by_indexes(sqlite_database):
    with sqlite_database.read() as session:
        assert inspection.counts(session) == {"waiting": 0, "blocked": 0, "parked": 0}
        assert inspection.destinations(session) == []
        with pytest.raises(Rejected, match="must be one of"):
            inspection.page(session, state="lost", limit=1)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (listed(state="parked"), "ix_delivery_open (state=?"),
        (listed(destination="RIS"), "ix_delivery_destination (destination=?"),
        (listed(destination="RIS", state="done"), "ix_delivery_destination (destination=?"),
        (partial(inspection.failing, destinations=["RIS"]), "ix_delivery_waiting (destination=?"),
    ],
)
def test_no_list_reads_or_sorts_all_deliveries(sqlite_database, asked, index):
    plans = []

    def explain(conn, _cursor, statement, parameters, *_):
        if statement.startswith("SELECT"):
            driver = conn.connection.driver_connection
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("; ".join(row[3] for row in rows))

    with sqlite_database.read() as session:
        engine = session.connection().engine
        event.listen(engine, "before_cursor_execute", explain)
        asked(session)
        event.remove(engine, "before_cursor_execute", explain)
    (plan,) = plans
    assert index in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_what_is_forwarded_is_shown_as_it_came_and_can_not_be_written_anew(app, feed):
    table = Forward(name="his", host="127.0.0.1", port=1, types=["ADT^*"])
    inbound = Inbound(
        app.database,
        Profiles.single(profile.load(DEFAULT), BERLIN),
        forwards=Forwards.of([table]),
        clock=lambda: app.now,
    )
    inbound.receive(adt_a08(MSH_10="FWD1", PID_5="<Roe>^Ann").encode(), "10.0.0.5:1")
    (row,) = feed.rows(DELIVERY)
    admin = app.signed_in(Role.ADMIN)
    listed = squeezed(admin.get("/deliveries").text)
    assert "ADT^A08 of RIS^HOSPITAL, forwarded" in listed
    assert f'<a href="/{row.subject.replace("patient:", "patients/")}">patient</a>' in listed
    page = admin.get(f"/deliveries/{row.id}").text
    assert "FWD1" in page
    assert "&lt;Roe&gt;" in page
    assert "Send again" in page
    assert "Write anew" not in page
    answer = admin.post(f"/deliveries/{row.id}/resend", data={"anew": "1"})
    assert answer.status_code == 409
    assert "as it came" in answer.text
    admin.post(f"/deliveries/{row.id}/drop")
    assert states(feed) == ["dropped"]
