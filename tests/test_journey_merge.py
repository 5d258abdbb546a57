"""A patient is merged while the scanner is at work, and told apart again; on both databases."""

import pytest
from sqlalchemy import select

from mwl import sightings, story
from mwl.config import Close
from mwl.db.tables import ImagingOrder, Patient, PatientMerge, PerformedStep, Study
from mwl.procedures import browse
from mwl.worklist import unmerging
from tests.builders import adt, adt_a40, orm
from tests.hl7_mapping import BERLIN
from tests.scene import Scene


@pytest.fixture
def scene(database, tmp_path):
    return Scene(database, tmp_path)


def rows(scene, table):
    with scene.database.read() as session:
        return session.connection().execute(select(table.__table__).order_by("id")).all()


def patient(scene, number):
    with scene.database.read() as session:
        table = Patient.__table__
        row = session.connection().scalar(select(table.c.id).where(table.c.patient_id == number))
        return story.patient(session, row)


def outdated(scene):
    with scene.database.read() as session:
        (seen,) = sightings.of_order(session, scene.order)
    return seen.outdated


def listed(scene, text):
    with scene.database.read() as session:
        return browse.page(session, browse.Wanted(text=text))


def said(answer):
    return answer.decode().split("\rMSA|")[1][:2]


def test_a_merge_between_n_create_and_n_set_and_its_undoing(scene):
    scene.hear(orm())
    scene.show("CT1")
    scene.begin()
    scene.scan(2)
    merge = {"PID_3": "PID9^^^ADT1^MR", "PID_5": "Roe^Janet", "MRG_1": "PID1^^^ADT1^MR"}
    assert said(scene.hear(adt_a40(MSH_7="20300102080500", **merge))) == "AA"
    (study,) = rows(scene, Study)
    assert (study.patient_name, study.patient_id, study.coerced) == ("Roe^Janet", "PID9", True)
    # The scanner was answered the old name, and goes on with it.
    assert outdated(scene)["PatientID"] == ("PID1", "PID9")
    scene.scan(1)
    scene.end()
    (order,) = rows(scene, ImagingOrder)
    assert order.status == "CLOSED"
    (performed,) = rows(scene, PerformedStep)
    assert performed.flags == []
    record = patient(scene, "PID9")
    assert [each.id for each in record.orders] == [order.id]
    assert [each.id for each in record.mpps] == [performed.id]
    assert [each.id for each in record.studies] == [study.id]
    # Who looks for the survivor finds what the scanner did for the old number.
    (found,) = listed(scene, "PID9")
    assert (found.patient_id, found.present_id, found.is_renamed) == ("PID1", "PID9", True)
    (merged,) = rows(scene, PatientMerge)
    assert merged.counts == {"orders": 1, "studies": 1, "mpps": 1}

    done = scene.database.write(lambda s: unmerging.unmerge(s, merged.id, by="ada", now=scene.now))
    assert (done.orders, done.studies) == (1, 1)
    (study,) = rows(scene, Study)
    assert (study.patient_name, study.patient_id, study.coerced) == ("Doe^Jane^Q", "PID1", False)
    assert outdated(scene) == {}
    assert listed(scene, "PID9") == []
    (found,) = listed(scene, "PID1")
    assert not found.is_renamed
    record, other = patient(scene, "PID1"), patient(scene, "PID9")
    assert [len(each) for each in (record.orders, record.mpps, record.studies)] == [1, 1, 1]
    assert [len(each) for each in (other.orders, other.mpps, other.studies)] == [0, 0, 0]
    assert rows(scene, ImagingOrder)[0].status == "CLOSED"
    with scene.database.read() as session:
        told = story.tell(session, order.id, Close(), now=scene.now, zone=BERLIN)
    texts = [entry.text for entry in told.entries]
    assert "ada took back the merge of patient PID1 into PID9" in texts


def test_an_unknown_patient_is_identified_while_the_scanner_is_at_work(scene):
    unknown = {"PID_5": "UNKNOWN^FEMALE", "PID_7": "19000101"}
    scene.hear(orm(**unknown))
    scene.show("CT1")
    scene.begin(PatientName="UNKNOWN^FEMALE")
    scene.scan(1, PatientName="UNKNOWN^FEMALE", PatientBirthDate="19000101")
    known = {"PID_5": "Roe^Janet", "PID_7": "19700203"}
    assert said(scene.hear(adt("A08", MSH_7="20300102080500", **known))) == "AA"
    with scene.database.read() as session:
        flags = (
            session.connection()
            .exec_driver_sql("SELECT flags FROM message WHERE type = 'ADT^A08'")
            .scalar()
        )
    assert "shown the former name: CT1" in str(flags)
    assert outdated(scene)["PatientName"] == ("UNKNOWN^FEMALE", "Roe^Janet")
    # Its images still come under the old name; those of another scanner under the new one.
    scene.scan(1, series=2, PatientName="UNKNOWN^FEMALE", PatientBirthDate="19000101")
    scene.scan(1, series=3, PatientName="Roe^Janet", PatientBirthDate="19700203")
    (study,) = rows(scene, Study)
    assert (study.patient_name, study.birth_date) == ("Roe^Janet", "19700203")
    assert "strangers" not in study.as_received
    with scene.database.read() as session:
        states = session.connection().exec_driver_sql("SELECT DISTINCT state FROM stored_object")
        assert [row[0] for row in states] == ["served"]
    # At last the real number.
    real = {"PID_3": "PID9^^^ADT1^MR", "MRG_1": "PID1^^^ADT1^MR", **known}
    assert said(scene.hear(adt("A47", without=["PV1"], MSH_7="20300102081500", **real))) == "AA"
    scene.end()
    assert rows(scene, Study)[0].patient_id == "PID9"
    assert [each.status for each in patient(scene, "PID9").orders] == ["CLOSED"]


def test_a_site_without_images_here_has_its_order_follow_as_well(database, tmp_path):
    scene = Scene(database, tmp_path, Close(images="elsewhere"))
    scene.hear(orm())
    scene.begin()
    merge = {"PID_3": "PID9^^^ADT1^MR", "PID_5": "Roe^Janet", "MRG_1": "PID1^^^ADT1^MR"}
    scene.hear(adt_a40(**merge))
    scene.end()
    assert [each.status for each in patient(scene, "PID9").orders] == ["CLOSED"]
