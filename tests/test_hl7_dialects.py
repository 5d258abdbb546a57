"""Each profile that comes with the program reads a message of its dialect to the worklist."""

import re
from datetime import datetime

import pytest

from hl7 import profile_files
from hl7.mapping import Mapper
from mwl.config import shipped
from mwl.orders import Action, StudyUidPolicy
from tests.builders import omi, orm
from tests.hl7_mapping import BERLIN, order, read

FOLDER = shipped("hl7/default.toml").parent
NAMES = sorted(profile_files.available([FOLDER]))


def by(name: str) -> Mapper:
    return Mapper(profile_files.load(name, [FOLDER]), BERLIN)


def obr(fields: dict[int, str]) -> str:
    return "|".join(["OBR", *(fields.get(number, "") for number in range(1, max(fields) + 1))])


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_says_what_it_is_for_and_who_says_so(name):
    found = profile_files.load(name, [FOLDER])
    assert found.title
    assert found.source


def test_ihe_swf_has_two_steps_of_one_procedure_and_their_study_uid_in_zds():
    message = "\r".join(
        [
            r"MSH|^~\&|OF|RAD|IM|RAD|20300101080000||ORM^O01|1|P|2.3.1",
            "PID|||583295^^^ADT1||DOE^JANE||19610615|F",
            "PV1||E|ED||||||5101^NELL^FREDERICK^P^^DR",
            "ORC|NW|A100Z^MESA_ORDPLC|B100Z^MESA_ORDFIL||SC||1^once^^20300102093000^^S",
            *(
                obr(
                    {
                        1: number,
                        2: "A100Z^MESA_ORDPLC",
                        3: "B100Z^MESA_ORDFIL",
                        4: f"P1^Procedure 1^ERL^X1_A{number}^Action item {number}^DSS",
                        18: "ACC1",
                        19: "RP1",
                        20: f"SPS{number}",
                        24: "MR",
                    }
                )
                for number in "12"
            ),
            "ZDS|1.2.3.4.5^100^Application^DICOM",
        ]
    )
    found = order(message, by("ihe-swf"))
    (procedure,) = found.procedures
    assert (found.filler.id, found.placer.id) == ("B100Z", "A100Z")
    assert (procedure.key, procedure.study_uid) == ("RP1", "1.2.3.4.5")
    assert procedure.fields["accession_number"] == "ACC1"
    assert procedure.fields["priority"] == "STAT"
    assert procedure.fields["code_value"] == "P1"
    steps = [(each.sps_id, each.fields["protocol_value"]) for each in procedure.steps]
    assert steps == [("SPS1", "X1_A1"), ("SPS2", "X1_A2")]
    first = procedure.steps[0]
    assert first.fields["description"] == "Action item 1"
    assert first.fields["modality"] == "MR"
    assert first.start == datetime(2030, 1, 2, 9, 30, tzinfo=BERLIN)


def test_ihe_swf_b_takes_every_step_from_its_ipc_and_wants_a_study_uid():
    found = order(omi(), by("ihe-swf-b"))
    (procedure,) = found.procedures
    (step,) = procedure.steps
    assert procedure.snapshot
    assert procedure.study_uid == "1.2.826.0.1.3680043.8.498.1"
    assert procedure.fields["accession_number"] == "ACC1"
    assert (step.sps_id, step.stations) == ("SPS1", ("CT1",))
    assert step.fields["station_name"] == "CT_ROOM_1"
    assert step.fields["protocol_value"] == "P1"
    assert step.start == datetime(2030, 1, 2, 9, 30, tzinfo=BERLIN)
    assert found.study_uid_policy is StudyUidPolicy.REJECT


def test_a_ris_of_dcm4chee_gets_ot_where_it_says_no_modality_and_its_station():
    mapper = by("dcm4chee")
    found = order(orm(OBR_24=None, ORC_18="CT_ROOM1"), mapper)
    (step,) = found.procedures[0].steps
    assert step.fields["modality"] == "OT"
    assert step.stations == ("CT_ROOM1",)
    (step,) = order(orm(OBR_24="CT"), mapper).procedures[0].steps
    assert step.fields["modality"] == "CT"
    canceled = order(orm(ORC_1="CA", ORC_5=None), mapper)
    assert canceled.action is Action.CANCEL
    assert canceled.policy.after_start is Action.CANCELED
    assert order(orm(ORC_1="OD", ORC_5=None), mapper).action is Action.DISCONTINUE


def test_ot_is_for_what_no_rule_of_the_site_knows_and_never_for_a_modality_nobody_knows(tmp_path):
    own = 'extends = "dcm4chee"\n[[rule]]\ncode = "CT*"\nmodality = "CT"\n'
    (tmp_path / "site.toml").write_text(own, "utf-8")
    mapper = Mapper(profile_files.load("site", [tmp_path, FOLDER]), BERLIN)

    def modality(**fields: str | None) -> str | None:
        (step,) = order(orm(**fields), mapper).procedures[0].steps
        return step.fields.get("modality")

    assert modality(OBR_24=None) == "CT"
    assert modality(OBR_24=None, OBR_4="X1^Something^L") == "OT"
    assert modality(OBR_24="FOO", OBR_4="X1^Something^L") is None


def test_a_ris_of_v2_3_has_its_filler_number_as_accession_number():
    message = "\r".join(
        [
            r"MSH|^~\&|RIS|HOSP|||20300101080000||ORM^O01|1|P|2.3",
            "PID|1|4711|||DOE^JANE||19610615|F",
            "PV1|1|O",
            "ORC|NW|P77|R2030-0815^RIS",
            obr(
                {
                    1: "1",
                    2: "P77",
                    3: "R2030-0815^RIS",
                    4: "CTABD^CT abdomen^L",
                    5: "S",
                    24: "CT",
                    27: "^^^20300102093000^^R",
                }
            ),
        ]
    )
    found = order(message, by("ris-2.3-orc3"))
    (procedure,) = found.procedures
    (step,) = procedure.steps
    assert found.patient.id.id == "4711"
    assert procedure.fields["accession_number"] == "R2030-0815"
    assert procedure.fields["accession_issuer"] is None
    assert procedure.key == "CTABD"
    assert procedure.fields["priority"] == "ROUTINE"
    assert (step.sps_id, step.fields["modality"]) == (None, "CT")
    assert step.start == datetime(2030, 1, 2, 9, 30, tzinfo=BERLIN)


def test_the_profile_that_the_readme_shows_does_what_it_says(tmp_path):
    readme = (FOLDER.parent.parent / "README.md").read_text("utf-8")
    (text,) = re.findall(r"```toml\n(extends = .*?)```", readme, re.DOTALL)
    (tmp_path / "mysite.toml").write_text(text, "utf-8")
    mapper = Mapper(profile_files.load("mysite", [tmp_path, FOLDER]), BERLIN)
    message = orm(OBR_24=None, ORC_3="ORD-7", PV1_2="E", after="ZXX|||ramp")
    (procedure,) = order(message, mapper).procedures
    (step,) = procedure.steps
    assert procedure.fields["accession_number"] == "7"
    assert step.fields["modality"] == "OT"
    assert step.stations == ("CT_ER",)
    assert step.attributes == {"SpecialNeeds": "ramp"}
    north = order(orm(MSH_4="NORTH1"), mapper).procedures[0]
    assert north.fields["accession_number"] == "ACC1"


def test_every_dialect_takes_what_tells_of_patients_as_the_default_does():
    update = "\r".join([r"MSH|^~\&|A|B|||20300101||ADT^A08|1|P|2.3", "PID|||1^^^X||DOE^JANE"])
    for name in NAMES:
        (change,) = read(update, by(name))
        assert change.patient.fields["patient_name"] == "DOE^JANE"
