"""Messages explained and replayed on pages: told in full before anything is done."""

import re
from base64 import b64encode
from io import BytesIO

import pytest

from mwl import audit
from mwl.accounts import Role
from mwl.config import Forward, Hl7, Settings
from tests.builders import orm
from tests.feeding import MESSAGE, Feed
from tests.web_app import WebApp

EVIL = "<img src=x onerror=alert(1)>'\"{{7*7}}"


@pytest.fixture
def app(sqlite_database, tmp_path):
    return WebApp(sqlite_database, tmp_path)


@pytest.fixture
def feed(app):
    return Feed(app.database, now=app.now)


@pytest.fixture
def mended(sqlite_database, tmp_path):
    """A site whose profile understands what its feed was refused for: ORC-1 = ZZ."""
    (tmp_path / "mended.toml").write_text('extends = "default"\n[control]\nZZ = "create"\n')
    his = Forward(name="his", host="127.0.0.1", port=1)
    hl7 = Hl7(forward=[his], profile="mended", profiles=str(tmp_path))
    return WebApp(sqlite_database, tmp_path, Settings(data_dir=tmp_path, hl7=hl7))


@pytest.fixture
def person(app):
    return app.signed_in(Role.TECHNOLOGIST)


@pytest.fixture
def admin(app):
    return app.signed_in(Role.ADMIN)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Let a busy machine take its time."""
    monkeypatch.setattr("hl7.ranges.LONGEST_HELD_S", 60)
    monkeypatch.setattr("web.replaying._PORTION_S", 60)
    monkeypatch.setattr("web.api.explaining._PORTION_S", 60)


def events(app, action):
    with app.database.read() as session:
        found = audit.listing(session, audit.Wanted(action=action), limit=50)
    return [(event.subject, event.detail) for event in found]


def order(number, **more):
    names = {"ORC_2": f"P{number}", "ORC_3": f"F{number}", "OBR_2": None, "OBR_3": None}
    return orm(MSH_10=f"T{number}", ZDS_1=f"1.2.{number}", OBR_18=f"ACC{number}", **names, **more)


def explain(person, text, **more):
    return person.post("/messages/explain", data={"text": text, **more})


# ---- explained ------------------------------------------------------------------------------


def test_a_pasted_message_is_explained_and_nothing_is_kept(app, feed, person):
    feed.send(orm())
    page = explain(person, orm(ORC_1="CA", PID_8="?", ZZZ_1="zed").replace("\r", "\r\n")).text
    words = " ".join(page.split())
    assert "Patient&#39;s Name" in words
    assert "(0010,0010)" in words
    assert "zed" in words
    assert "ignored" in words
    assert "PID-8: a value that is not in [values.sex]" in words
    assert "SCHEDULED" in words
    assert "CANCELED" in words
    assert "MSA|AA|" in words
    assert len(feed.rows(MESSAGE)) == 1


def test_a_file_of_several_is_explained_by_the_profile_that_is_chosen(person):
    content = b"\x0b" + orm(MSH_10="ONE").encode() + b"\x1c\r\x0b" + orm(PID_3="").encode()
    answer = person.post(
        "/messages/explain",
        data={"file": (BytesIO(content + b"\x1c\r"), "m.hl7"), "profile": "default"},
    )
    assert answer.status_code == 200
    assert "it was asked for" in answer.text
    assert "ONE" in answer.text
    assert "no identifier of the patient" in answer.text


def test_a_message_of_the_journal_is_explained_as_if_it_came_now(app, feed, person):
    row = feed.send(orm(PID_7="yesterday"))
    assert f'href="/messages/{row}/explain"' in person.get(f"/messages/{row}").text
    page = person.get(f"/messages/{row}/explain").text
    assert "no date: YYYYMMDD is needed" in page
    accepted = feed.send(orm())
    assert "It was accepted before" in person.get(f"/messages/{accepted}/explain").text
    assert person.get(f"/messages/{row}/explain?profile=nosuch").status_code == 422
    assert person.get("/messages/4711/explain").status_code == 404


def test_what_is_none_is_told(person):
    for text, status, said in [
        ("nothing", 422, "There is no hl7 message in it"),
        ("", 422, "There is no hl7 message in it"),
        ("x" * 900_001, 413, "longer than"),
    ]:
        answer = explain(person, text)
        assert (answer.status_code, said in answer.text) == (status, True)
    assert explain(person, orm(), profile="../../etc/passwd").status_code == 422


def test_explaining_is_for_those_who_may_change_the_worklist_and_needs_the_form_s_token(app):
    viewer = app.signed_in(Role.VIEWER)
    assert viewer.get("/messages/explain").status_code == 403
    assert explain(viewer, orm()).status_code == 403
    technologist = app.signed_in(Role.TECHNOLOGIST)
    data = {"text": orm()}
    assert technologist.post("/messages/explain", data=data, csrf=False).status_code == 400


def test_whose_rows_were_shown_is_audited_and_not_what_was_pasted(app, feed, person):
    feed.send(orm())
    explain(person, orm(MSH_10="X1", ORC_1="XO", PID_8="O", PID_5="Doe^Jane^Secret"))
    ((subject, detail),) = events(app, "view")
    assert subject == "messages"
    assert detail["explained"] == ["X1"]
    assert detail["rows"] == ["patient:1"]
    assert "Secret" not in str(detail)


def test_nothing_of_a_pasted_message_is_logged(person, capsys):
    explain(person, orm(PID_5="Secretname^Jane", PID_7="yesterday"))
    told = capsys.readouterr()
    assert "Secretname" not in told.out + told.err


def test_markup_in_a_pasted_message_stays_text(person):
    fields = dict.fromkeys(("MSH_3", "MSH_10", "PID_5", "PID_3", "OBR_13", "ZZZ_1"), EVIL)
    for text in (orm(**fields), f"MSH|^~\\&|{EVIL}\r{EVIL}|{EVIL}\r"):
        page = explain(person, text).text
        assert "<img" not in page
        assert "&lt;img src=x" in page


# ---- replayed -------------------------------------------------------------------------------


def test_what_a_replay_would_do_is_told_before(app, feed, admin):
    row = feed.send(orm())
    page = admin.get(f"/messages/{row}/replay?accepted=1").text
    assert "What a replay would do" in page
    assert "Nothing was done yet" in page
    assert "It was accepted before" in admin.get(f"/messages/{row}/replay").text
    assert len(feed.rows(MESSAGE)) == 1
    assert admin.get("/messages/4711/replay").status_code == 404


def test_many_are_looked_at_then_applied(app, feed, admin):
    for number in range(3):
        feed.send(order(number))
    filters = {"type": "ORM^O01", "accepted": "1"}
    page = admin.post("/messages/replay", data={**filters, "do": "look"}).text
    assert "<strong>3</strong> applied" in page
    assert len(feed.rows(MESSAGE)) == 3
    upto = page.split('name="upto" value="')[1].split('"')[0]
    done = admin.post("/messages/replay", data={**filters, "do": "apply", "upto": upto}).text
    assert "Done" in done
    assert "<strong>3</strong> applied" in done
    assert len(feed.rows(MESSAGE)) == 6
    # Neither replays nor what came since are among them.
    again = admin.post("/messages/replay", data={**filters, "do": "apply", "upto": upto}).text
    assert "<strong>3</strong> applied" in again
    assert [subject for subject, _ in events(app, "replay")].count("messages") == 2


def test_who_would_be_told_is_told_however_many_rows_differ(mended, monkeypatch):
    monkeypatch.setattr("web.replaying._MOST_SHOWN", 1)
    feed, admin = Feed(mended.database, now=mended.now), mended.signed_in(Role.ADMIN)
    for number in range(3):
        feed.send(order(number, ORC_1="ZZ"))
    page = admin.post("/messages/replay", data={"state": "rejected"}).text
    assert "<p>his would be told 3 times.</p>" in page
    assert "rows more" in page
    assert "<p>his would be told.</p>" in admin.get("/messages/1/replay").text


def test_what_was_refused_and_accepted_since_waits_for_nobody(mended):
    feed, admin = Feed(mended.database, now=mended.now), mended.signed_in(Role.ADMIN)
    feed.send(order(1, ORC_1="ZZ"))
    feed.send(order(2, ORC_1="YY"))
    assert "2 messages got an error for an answer lately" in admin.get("/").text
    admin.post("/messages/1/replay")
    assert "A message got an error for an answer lately" in admin.get("/").text
    listed = admin.get("/messages?state=rejected").text
    assert listed.count("accepted by replay") == 1
    assert '<a class="small" href="/messages/3">accepted by replay</a>' in listed


def test_portions_go_on_and_count_together(app, feed, admin, monkeypatch):
    monkeypatch.setattr("web.replaying._PORTION", 2)
    for number in range(3):
        feed.send(order(number))
    filters = {"type": "ORM^O01", "accepted": "1"}
    page = admin.post("/messages/replay", data=filters).text
    upto = page.split('name="upto" value="')[1].split('"')[0]
    first = admin.post("/messages/replay", data={**filters, "do": "apply", "upto": upto}).text
    assert "Go on with the 1 that are left" in first
    form = first.split("data-go-on>")[1].split("</form>")[0]
    sent = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
    last = admin.post("/messages/replay", data={**sent, "do": "apply"}).text
    assert "<strong>3</strong> applied" in last
    assert "Go on" not in last


def test_a_range_says_which_and_is_for_administrators(app, feed, admin, person):
    assert person.get("/messages/replay").status_code == 403
    assert person.post("/messages/replay", data={"state": "rejected"}).status_code == 403
    assert admin.post("/messages/replay", data={}).status_code == 422
    assert admin.post("/messages/replay", data={"state": "lost"}).status_code == 422
    assert admin.post("/messages/replay", data={"since": "soon"}).status_code == 400
    assert (
        admin.post("/messages/replay", data={"state": "failed", "do": "apply"}).status_code == 400
    )
    data = {"state": "failed", "after": "x~y"}
    assert admin.post("/messages/replay", data=data).status_code == 400
    data = {"state": "failed"}
    assert admin.post("/messages/replay", data=data, csrf=False).status_code == 400
    assert "No message answers" in admin.post("/messages/replay", data=data).text


def test_the_list_s_filters_go_along(app, feed, admin):
    feed.send(orm(PID_3=""))
    page = admin.get("/messages?state=rejected&day=2030-01-02&source=RIS^HOSPITAL").text
    path = page.split('href="/messages/replay?')[1].split('"')[0].replace("&amp;", "&")
    form = admin.get(f"/messages/replay?{path}").text
    assert 'value="RIS^HOSPITAL"' in form
    assert "<option selected>rejected</option>" in form
    assert 'value="2030-01-02T00:00"' in form
    assert 'value="2030-01-03T00:00"' in form


# ---- the API --------------------------------------------------------------------------------


@pytest.fixture
def ask(app):
    """Ask the API as a program with an administrator's token."""
    bearer, client = app.bearer(Role.ADMIN), app.visitor()

    def send(path, status=200, **body):
        answer = client.post(f"/api/v1{path}", json=body, headers=bearer)
        assert answer.status_code == status, answer.text
        return answer.json

    return send


def test_programs_have_messages_explained(feed, ask):
    feed.send(orm())
    told = ask("/explain", text=orm(ORC_1="CA") + orm(PID_3=""))
    first, second = told["items"]
    assert (first["ack_code"], first["action"], told["left"]) == ("AA", "cancel", 0)
    (step,) = [row for row in first["rows"] if row["kind"] == "step"]
    assert step["columns"] == [{"column": "state", "before": "SCHEDULED", "after": "CANCELED"}]
    assert [fault["where"] for fault in second["faults"]] == ["PID-3"]
    raw = b64encode(orm(PID_5="M\xfcller", MSH_18="8859/1").encode("latin-1")).decode()
    (latin,) = ask("/explain", raw=raw, profile="default")["items"]
    assert "M\xfcller" in [value["value"] for value in latin["values"]]
    assert len(feed.rows(MESSAGE)) == 1
    for body in ({}, {"text": "x"}, {"raw": "?"}, {"text": orm(), "profile": "nosuch"}):
        assert "error" in ask("/explain", 422, **body)


def test_programs_replay_one_or_many_and_are_told_before(feed, ask):
    for number in range(3):
        feed.send(order(number))
    told = ask("/messages/1/replay", accepted=True)
    assert (told["state"], told["row"]) == ("applied", None)
    assert "error" in ask("/messages/1/replay", 409)
    assert "error" in ask("/messages/4711/replay", 404)
    many = ask("/messages/replay", type="ORM^O01", accepted=True)
    assert (many["counts"], many["after"], len(feed.rows(MESSAGE))) == ({"applied": 3}, None, 3)
    assert [each["row"] for each in many["tried"]] == [None] * 3
    done = ask("/messages/replay", type="ORM^O01", accepted=True, dry_run=False)
    assert done["counts"] == {"applied": 3}
    assert [each["row"] for each in done["tried"]] == [4, 5, 6]
    one = ask("/messages/1/replay", accepted=True, dry_run=False)
    assert one["row"] == 7
    assert "say which" in ask("/messages/replay", 422)["error"]


def test_programs_go_on_from_a_cursor(feed, ask, monkeypatch):
    monkeypatch.setattr("web.api.explaining._PORTION", 2)
    for number in range(3):
        feed.send(order(number, PID_3=""))
    first = ask("/messages/replay", state="rejected", dry_run=False)
    assert (len(first["tried"]), first["left"]) == (2, 1)
    rest = ask("/messages/replay", state="rejected", dry_run=False, after=first["after"])
    assert [each["message"] for each in rest["tried"]] == [3]
    assert (rest["counts"], rest["after"]) == ({"refused as before": 1}, None)
