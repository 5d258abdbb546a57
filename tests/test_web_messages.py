"""The journal's pages: found by what people know, shown whole, replayed by administrators."""

from datetime import timedelta
from pathlib import Path

import pytest

from mwl import audit, journal
from mwl.accounts import Role
from mwl.audit import Wanted
from mwl.config import Journal
from mwl.db import Database
from tests.builders import adt_a08, orm
from tests.feeding import MESSAGE, Feed
from tests.web_app import WebApp


@pytest.fixture
def app(database: Database, tmp_path: Path) -> WebApp:
    return WebApp(database, tmp_path)


@pytest.fixture
def feed(app: WebApp) -> Feed:
    return Feed(app.database, now=app.now)


def events(app: WebApp, action: str) -> list[tuple[str, dict]]:
    with app.database.read() as session:
        found = audit.listing(session, Wanted(action=action), limit=50)
    return [(event.subject, event.detail) for event in found]


def test_the_list_shows_what_came_and_what_became_of_it(app, feed):
    feed.send(orm(MSH_10="GOOD1"))
    feed.send(orm(MSH_10="BAD1", PID_3=""))
    page = app.signed_in().get("/messages").text
    assert page.index("BAD1") < page.index("GOOD1")
    assert "PID-3" in page
    assert "Doe, Jane" in page
    assert 'href="/orders/1"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=GOOD1", {"GOOD1"}),
        ("text=PID1", {"GOOD1", "ADT1"}),
        ("text=ACC1", {"GOOD1", "BAD1"}),
        ("control_id=BAD1", {"BAD1"}),
        ("patient=P9", {"BAD2"}),
        ("accession=A9", {"BAD2"}),
        ("type=ADT^A08", {"ADT1"}),
        ("state=rejected", {"BAD1", "BAD2"}),
        ("state=rejected&error=PID-7", {"BAD2"}),
        ("flagged=1", {"FLAG1"}),
        ("day=2030-01-02", {"GOOD1", "ADT1", "FLAG1", "BAD1", "BAD2"}),
        ("day=2030-01-03", set()),
        ("text=%00", {"GOOD1", "ADT1", "FLAG1", "BAD1", "BAD2"}),
    ],
)
def test_filters_stand_in_the_url(app, feed, query, found):
    feed.send(orm(MSH_10="GOOD1"))
    feed.send(adt_a08(MSH_10="ADT1"))
    other = {"PID_3": "PID5^^^ADT1", "ORC_2": "5^RIS", "ORC_3": "6^RIS", "OBR_2": "", "OBR_3": ""}
    feed.send(orm(MSH_10="FLAG1", OBR_24="NOPE", OBR_18="A5", ZDS_1="1.2.5", **other))
    feed.send(orm(MSH_10="BAD1", PID_3=""))
    feed.send(orm(MSH_10="BAD2", PID_3="P9", PID_7="yesterday", OBR_18="A9"))
    page = app.signed_in().get(f"/messages?{query}").text
    table = page.partition("<tbody>")[2]
    names = {"GOOD1", "ADT1", "FLAG1", "BAD1", "BAD2"}
    assert {name for name in names if name in table} == found


def test_pages_go_further_and_back(app, feed):
    for number in range(60):
        feed.send(adt_a08(MSH_10=f"N{number:03}"))
    person = app.signed_in()
    first = person.get("/messages?type=ADT^A08").text
    assert "N059" in first
    assert "N009" not in first
    further = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = person.get(f"/messages{further}").text
    assert "N009" in second
    assert "N010" not in second
    back = second.split('rel="prev" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "N059" in person.get(f"/messages{back}").text


@pytest.mark.parametrize(
    "query", ["after=1", "after=x~y", "before=99999999999999999999~1", "day=soon", "after=~"]
)
def test_a_place_that_is_none_is_told(app, query):
    assert app.signed_in().get(f"/messages?{query}").status_code == 400


def test_a_state_that_is_none_is_told(app):
    assert app.signed_in().get("/messages?state=lost").status_code == 409


def test_messages_out_are_another_page(app):
    answer = app.signed_in().get("/messages?direction=out")
    assert answer.location == "/deliveries"


def test_a_message_is_shown_whole(app, feed):
    row = feed.send(orm(MSH_10="GOOD1", PID_5="Müller^Jürgen", MSH_18="UNICODE UTF-8"))
    page = app.signed_in().get(f"/messages/{row}").text
    assert "Patient name" in page
    assert "PID-5.1" in page
    assert "Müller" in page
    assert "‹CR›" in page
    assert "MSA|AA|GOOD1" in page
    assert "utf-8" in page
    assert "It was applied." in page
    assert "created" in page  # what it changed
    assert 'href="/orders/1"' in page


def test_what_is_wrong_with_a_message_stands_above_all(app, feed):
    row = feed.send(orm(MSH_10="BAD1", PID_3=""))
    page = app.signed_in().get(f"/messages/{row}").text
    assert "PID-3" in page
    assert "nothing of it was applied" in page
    assert "MSA|AE|BAD1" in page
    assert "ERR-3" in page


def test_repeats_are_told(app, feed):
    message = orm()
    row = feed.send(message)
    feed.send(message)
    page = app.signed_in().get(f"/messages/{row}").text
    assert "1 time, last" in " ".join(page.split())


def test_its_bytes_are_a_file(app, feed):
    message = orm(PID_5="Müller").encode("latin-1")
    row = feed.send(message)
    answer = app.signed_in().get(f"/messages/{row}/raw")
    assert answer.data == message
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/messages/4711", "/messages/4711/raw", "/messages/99999999999"])
def test_there_is_no_other_message(app, path):
    assert app.signed_in(Role.ADMIN).get(path).status_code == 404


def test_looking_is_audited(app, feed):
    row = feed.send(orm())
    person = app.signed_in()
    person.get("/messages?text=PID1")
    person.get(f"/messages/{row}")
    assert events(app, "view") == [(f"message:{row}", {}), ("messages", {"text": "PID1"})]


def test_replay_is_for_administrators(app, feed):
    row = feed.send(orm(PID_3=""))
    person = app.signed_in(Role.TECHNOLOGIST)
    assert "Replay" not in person.get(f"/messages/{row}").text
    assert person.post(f"/messages/{row}/replay").status_code == 403
    assert len(feed.rows(MESSAGE)) == 1


def test_a_replay_needs_the_form_s_token(app, feed):
    row = feed.send(orm(PID_3=""))
    admin = app.signed_in(Role.ADMIN)
    assert admin.post(f"/messages/{row}/replay", csrf=False).status_code == 400
    assert len(feed.rows(MESSAGE)) == 1


def test_a_replay_leads_to_its_own_page_and_is_audited(app, feed):
    row = feed.send(orm(PID_3=""))
    admin = app.signed_in(Role.ADMIN)
    answer = admin.post(f"/messages/{row}/replay")
    assert answer.location == f"/messages/{row + 1}"
    page = admin.get(answer.location).text
    assert "Replayed: rejected, answer AE" in page
    assert f"replay of message {row} by admin" in page
    assert f'href="/messages/{row}"' in page
    assert f'href="/messages/{row + 1}"' in admin.get(f"/messages/{row}").text
    ((subject, detail),) = events(app, "replay")
    assert (subject, detail["replay"]) == (f"message:{row}", row + 1)


def test_what_was_accepted_is_replayed_only_where_that_is_wanted(app, feed):
    row = feed.send(orm())
    admin = app.signed_in(Role.ADMIN)
    refused = admin.post(f"/messages/{row}/replay")
    assert refused.status_code == 409
    assert "It was accepted before" in refused.text
    assert len(feed.rows(MESSAGE)) == 1
    done = admin.post(f"/messages/{row}/replay", data={"accepted": "1"})
    assert done.status_code == 302
    page = admin.get(done.location).text
    assert "its answer stands" in page
    assert "no answer of its own" in page


def test_the_answers_of_enhanced_mode_are_shown_as_they_went_out(app, feed):
    viewer = app.signed_in(Role.VIEWER)
    both = viewer.get(f"/messages/{feed.send(orm(MSH_15='AL', MSH_16='AL'))}").text
    assert "MSA|CA|" in both
    assert "MSA|AA|" in both
    assert "a second MSH" not in both
    none = viewer.get(f"/messages/{feed.send(orm(MSH_15='NE', MSH_16='NE', PID_3=None))}").text
    assert "None was sent: its sender asked for none" in none
    assert "its sender asked for no answer" in none


def test_a_replay_overrides_the_order_of_time_where_that_is_wanted(app, feed):
    old = feed.send(orm(MSH_7="20250101120000", OBR_44="OLD"))
    feed.send(orm(MSH_7="20250101130000", OBR_44="NEW"))
    admin = app.signed_in(Role.ADMIN)
    admin.post(f"/messages/{old}/replay", data={"accepted": "1"})
    admin.post(f"/messages/{old}/replay", data={"accepted": "1", "older": "1"})
    assert [row.state for row in feed.rows(MESSAGE)][-2:] == ["stale", "applied"]


def test_there_is_nothing_to_replay_where_there_is_no_message(app):
    assert app.signed_in(Role.ADMIN).post("/messages/4711/replay").status_code == 404


def test_markup_in_every_field_stays_text(app, feed):
    evil = "<img src=x onerror=alert(1)>'\"{{7*7}}"
    fields = dict.fromkeys(("MSH_3", "MSH_4", "PID_5", "PID_3", "OBR_18", "OBR_13"), evil)
    rows = [
        feed.send(orm(**fields)),
        feed.send(orm(MSH_10=evil, MSH_9=f"{evil}^{evil}", after=f"ZZZ|{evil}")),
        feed.send(f"MSH|^~\\&|{evil}\r{evil}|{evil}".encode()),
    ]
    person = app.signed_in(Role.ADMIN)
    for path in ["/messages", *(f"/messages/{row}" for row in rows)]:
        page = person.get(path).text
        assert "<img" not in page, path
        assert "&lt;img src=x" in page, path
    filters = ("text", "type", "control_id", "patient", "accession", "error")
    for name in filters:
        page = person.get("/messages", query_string={name: evil}).text
        assert "<img" not in page
        assert "&lt;img src=x" in page


def test_the_list_tells_how_large_the_journal_is_and_what_goes(app, feed):
    feed.send(orm())
    page = app.signed_in().get("/messages").text
    assert "1 message since 2030-01-02" in page
    assert "Each is kept for 90 days; the next go on 2030-04-03 (UTC)." in page


def test_where_no_index_serves_the_filters_the_list_says_so(app, feed):
    feed.send(orm())
    person = app.signed_in()
    assert "were looked through" in person.get("/messages?type=ADT^A08&source=RIS^H").text
    assert "were looked through" not in person.get("/messages?type=ADT^A08").text


def test_a_message_that_is_too_old_for_its_text_shows_what_stays(app, feed):
    row = feed.send(orm())
    day = timedelta(days=1)
    app.database.write(
        lambda session: session.connection().execute(
            MESSAGE.update().values(received_at=app.now - 100 * day)
        )
    )
    feed.send(orm(ORC_2="PO2", ORC_3="FO2"))
    sql = "UPDATE imaging_order SET status = 'CANCELED'"
    app.database.write(lambda session: session.connection().exec_driver_sql(sql))
    for minutes in (0, 2):
        journal.clear(app.database, Journal(), app.now + timedelta(minutes=minutes))
    admin = app.signed_in(Role.ADMIN)
    page = admin.get(f"/messages/{row}").text
    assert "Its text is kept no longer" in page
    assert "MSA|AA" in page
    assert "Replay it" not in page
    assert admin.get(f"/messages/{row}/raw").status_code == 404
    assert admin.post(f"/messages/{row}/replay", data={"accepted": "1"}).status_code == 409
    story = admin.get("/orders/1").text
    assert f'href="/messages/{row}"' in story
    assert admin.get("/audit?subject=journal").text.count("texts removed") == 1
