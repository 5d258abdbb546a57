"""An order's page, its patient's page, and the raw data set of an MPPS."""

import pytest
from sqlalchemy import select

from mwl.accounts import Role
from mwl.db.tables import AuditEvent, ImagingOrder, Patient, PerformedMessage
from tests.builders import adt_a40, orm
from tests.scene import IMPLICIT, Scene, worked_off
from tests.web_app import WebApp
from web import datasets

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def scene(sqlite_database, tmp_path):
    return Scene(sqlite_database, tmp_path)


def opened(scene, tmp_path, role=Role.VIEWER):
    app = WebApp(scene.database, tmp_path)
    app.now = scene.now
    return app.signed_in(role)


def read(scene, column):
    with scene.database.read() as session:
        return session.connection().execute(select(column)).scalars().all()


def test_an_order_is_told_from_its_first_message_to_its_end(sqlite_database, tmp_path):
    scene = worked_off(sqlite_database, tmp_path)
    page = opened(scene, tmp_path).get(f"/orders/{scene.order}").text
    for text in (
        "Doe, Janet Q",
        "Closed on 2030-01-02 09:10: every image that its scanner had listed was here.",
        "new order; new patient",
        "2030-01-02 09:30:00 → 2030-01-02 10:15:00",
        "CT1 began step SPS1",
        "5 images in 2 series from CT1",
        "5 of 5 images are kept",
        "ris was told: CM (completed)",
        "it was told another name than is on file",
    ):
        assert text in page, text
    for link in ("/messages/1", "/deliveries/1", "/studies/1", f"/orders/{scene.order}/mpps/1"):
        assert f'href="{link}"' in page, link
    assert page.count("/frames/1.png?size=thumb") == 2


def test_a_scanner_with_an_old_copy_is_named_on_the_order_and_in_the_list(scene, tmp_path):
    scene.hear(orm(PID_5="Doe^<b>Jane"))
    scene.show("CT1")
    pages = (f"/orders/{scene.order}", "/worklist?day=2030-01-02")
    for path in pages:
        assert "was shown" not in opened(scene, tmp_path).get(path).text.split("What happened")[0]
    scene.hear(orm(ORC_1="XO", PID_5="Doe^Jane"))
    for path in pages:
        page = opened(scene, tmp_path).get(path).text.split("What happened")[0]
        assert "CT1 was shown name Doe^&lt;b&gt;Jane at 2030-01-02 09:02; since then the" in page


def test_a_patient_is_led_on_in_the_order_that_things_happen(scene, tmp_path):
    scene.hear(orm())
    person = opened(scene, tmp_path, Role.TECHNOLOGIST)
    path = f"/orders/{scene.order}"
    for verb, other in (("arrive", "ready"), ("ready", "depart")):
        page = person.get(path).text
        assert f"/worklist/{scene.step}/{verb}" in page
        assert f"/worklist/{scene.step}/{other}" not in page
        assert person.post(f"/worklist/{scene.step}/{verb}").status_code == 302
    scene.begin()
    assert f"/worklist/{scene.step}/depart" in person.get(path).text
    person.post(f"/worklist/{scene.step}/depart")
    assert "DEPARTED" in person.get(path).text


def test_who_looked_at_an_order_or_a_patient_is_recorded(scene, tmp_path):
    scene.hear(orm())
    person = opened(scene, tmp_path)
    assert person.get(f"/orders/{scene.order}").status_code == 200
    (patient,) = read(scene, Patient.id)
    assert person.get(f"/patients/{patient}").status_code == 200
    assert read(scene, AuditEvent.subject) == [f"order:{scene.order}", f"patient:{patient}"]


@pytest.mark.parametrize("path", ["/orders/99", "/orders/99/mpps/1", "/patients/99"])
def test_what_is_not_there_is_not_found(scene, tmp_path, path):
    assert opened(scene, tmp_path).get(path).status_code == 404
    assert read(scene, AuditEvent.subject) == []


def test_what_may_be_done_depends_on_the_role_and_the_state(scene, tmp_path):
    scene.hear(orm())
    path, actions = f"/orders/{scene.order}", (f"/worklist/{scene.step}/cancel", "/arrive", "/edit")
    page = opened(scene, tmp_path).get(path).text
    assert not any(action in page for action in actions)
    page = opened(scene, tmp_path, Role.TECHNOLOGIST).get(path).text
    assert all(action in page for action in actions)
    assert "/reopen" not in page
    scene.begin()
    page = opened(scene, tmp_path, Role.TECHNOLOGIST).get(path).text
    assert "/reopen" in page
    assert not any(action in page for action in actions)


def test_a_completed_order_is_closed_by_hand_and_that_is_recorded(scene, tmp_path):
    scene.hear(orm())
    scene.begin()
    scene.scan(1)
    scene.end(but=1)
    path = f"/orders/{scene.order}"
    viewer = opened(scene, tmp_path)
    assert f"{path}/close" not in viewer.get(path).text
    assert viewer.post(f"{path}/close").status_code == 403
    person = opened(scene, tmp_path, Role.TECHNOLOGIST)
    assert f'action="{path}/close"' in person.get(path).text
    assert person.post(f"{path}/close").headers["Location"] == path
    assert read(scene, ImagingOrder.status) == ["CLOSED"]
    assert "technologist closed it" in person.get(path).text
    assert person.post(f"{path}/close").status_code == 409


def test_what_a_scanner_sent_is_shown_with_its_own_characters(scene, tmp_path):
    scene.hear(orm())
    scene.begin(SpecificCharacterSet="ISO_IR 192", PatientName="Doe^Jané=漢字")
    scene.begin(uid="1.2.9.2", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    person = opened(scene, tmp_path)
    assert "Doe^Jané=漢字" in person.get(f"/orders/{scene.order}/mpps/1").text
    page = person.get(f"/orders/{scene.order}/mpps/2").text
    assert "Müller^Jörg" in page
    assert "ScheduledStepAttributesSequence" in page
    assert "Item 1" in page
    assert person.get(f"/orders/{scene.order + 1}/mpps/1").status_code == 404


def test_a_data_set_that_can_not_be_read_says_so(scene, tmp_path):
    scene.hear(orm())
    scene.begin()
    table = PerformedMessage.__table__
    scene.database.write(
        lambda s: s.connection().execute(
            table.update().values(data_set=b"\x08\0\x05\0\xff\xff\0\0x")
        )
    )
    page = opened(scene, tmp_path).get(f"/orders/{scene.order}/mpps/1")
    assert page.status_code == 200
    assert "can&#39;t be read" in page.text


def test_markup_in_what_comes_from_outside_stays_text(scene, tmp_path):
    scene.hear(orm(PID_5=f"Doe^{MARKUP}", OBR_4=f"X^{MARKUP}^99RIS", MSH_3=MARKUP, PV1_19=MARKUP))
    scene.show("CT1", MARKUP)
    scene.begin(PatientName=f"Roe^{MARKUP}", PerformedProcedureStepDescription=MARKUP)
    scene.scan(1, SeriesDescription=MARKUP, StudyDescription=MARKUP)
    scene.hear(orm(ORC_1="XO", PID_5=f"Doe^J{MARKUP}", MSH_3=MARKUP))
    person = opened(scene, tmp_path, Role.ADMIN)
    (patient,) = read(scene, Patient.id)
    paths = [f"/orders/{scene.order}", f"/orders/{scene.order}/mpps/1", f"/patients/{patient}"]
    for path in paths:
        page = person.get(path)
        assert page.status_code == 200
        assert MARKUP not in page.text
        assert "&lt;script&gt;alert(1)" in page.text


def test_a_patient_is_shown_with_what_was_merged_into_it(scene, tmp_path):
    scene.hear(orm(PID_3="PID2^^^ADT1^MR"))
    scene.scan(1, PatientID="PID2")
    scene.hear(adt_a40())
    person = opened(scene, tmp_path)
    loser, survivor = read(scene, Patient.id)
    page = person.get(f"/patients/{survivor}").text
    assert f'href="/orders/{scene.order}"' in page
    assert f'href="/patients/{loser}"' in page
    assert 'href="/studies/1"' in page
    assert (
        f'class="alert-link" href="/patients/{survivor}"' in person.get(f"/patients/{loser}").text
    )
    assert "PID2" in person.get(f"/orders/{scene.order}").text


def test_elements_are_told_by_what_they_are():
    data = (
        b"\x08\0\x18\0\x04\0\0\0" + b"1.2\0"  # UI
        b"\x28\0\x10\0\x02\0\0\0\x00\x02"  # US
        b"\x28\0\x09\0\x04\0\0\0\x18\0\x63\x10"  # AT
        b"\x09\0\x10\0\x03\0\0\0abc"  # private: unknown
    )
    told = {line.tag: line.value for line in datasets.lines(data, IMPLICIT)}
    assert told == {
        "(0008,0018)": "1.2",
        "(0009,0010)": "3 bytes",
        "(0028,0009)": "(0018,1063)",
        "(0028,0010)": "512",
    }


def test_a_long_text_is_cut_and_so_is_a_long_data_set():
    long = b"x" * 1_000
    told = datasets.lines(b"\x10\0\x00\x40" + len(long).to_bytes(4, "little") + long, IMPLICIT)
    assert told[0].value.endswith("… (1,000 characters)")
    item = b"\xfe\xff\x00\xe0\x08\0\0\0" + b"\x08\0\x50\x11\0\0\0\0"
    items = item * 3_000
    data = b"\x08\0\x99\x11" + len(items).to_bytes(4, "little") + items
    assert len(datasets.lines(data, IMPLICIT)) == datasets.MOST_LINES


def test_a_step_is_cancelled_from_the_order_s_page_which_tells_of_it(scene, tmp_path):
    scene.hear(orm())
    path = f"/orders/{scene.order}"
    person = opened(scene, tmp_path, Role.TECHNOLOGIST)
    cancel = f"/worklist/{scene.step}/cancel?next={path}"
    assert f'action="{cancel}"' in person.get(path).text
    assert person.post(cancel).headers["Location"] == path
    page = person.get(path).text
    assert "technologist cancelled it" in page
    assert "Nothing is waited for: the order is cancelled." in page
    assert "/audit?subject=order" not in page
    assert (
        f"/audit?subject=order:{scene.order}" in opened(scene, tmp_path, Role.ADMIN).get(path).text
    )
