import re
from pathlib import Path

import pytest

from hl7 import columns, profile
from mwl.db import tables
from mwl.errors import ConfigError
from mwl.orders import Action
from tests.hl7_mapping import DEFAULT, document

TARGETS = [
    (columns.PATIENT, tables.Patient),
    (columns.ORDER, tables.ImagingOrder),
    (columns.PROCEDURE, tables.RequestedProcedure),
    (columns.STEP, tables.ScheduledStep),
]


@pytest.mark.parametrize(
    ("known", "table"), TARGETS, ids=lambda each: getattr(each, "__name__", "")
)
def test_every_target_is_a_column_of_its_table(known, table):
    targets = {name for each in known.values() for name in (each.name, *each.also)}
    assert targets <= set(table.model_fields)


def test_observations_fill_columns_of_the_order():
    assert set(columns.OBSERVATIONS) <= set(tables.ImagingOrder.model_fields)


def test_the_default_profile_names_every_column_there_is():
    default = document()
    for name, known in (
        ("patient", columns.PATIENT),
        ("order", columns.ORDER),
        ("procedure", columns.PROCEDURE),
        ("step", columns.STEP),
    ):
        assert set(known) <= set(default[name])


def test_the_default_profile_knows_all_of_table_0119():
    control = profile.load(DEFAULT).control
    # HL7 v2.8 chapter 4, table 0119.
    table = (
        "AF CA CH CN CR DC DE DF DR FU HD HR LI MC NA NW OC OD OE OF OH OK OP OR PA PR PY RE RF "
        "RL RO RP RQ RR RU SC SN SR SS UA UC UD UF UH UM UN UR UX XO XR XX"
    )
    assert sorted(control) == table.split()
    noted = {
        code for code, by_status in control.items() if set(by_status.values()) == {Action.NOTE}
    }
    assert {"NA", "OK", "SR", "RE", "XX", "DR"} <= noted


WRONG = [
    ("order", {"foo": ["PID-1"]}, "[order] foo: no such key or column"),
    ("patient", {"accession_number": ["OBR-18"]}, "[patient] accession_number: no such key"),
    ("order", {"filler": "ORC-3"}, "[order] filler: must be a list of places"),
    ("order", {"filler": []}, "[order] filler: "),
    ("order", {"placer": [""]}, "[order] placer: has an empty place"),
    ("patient", {"sex": ["PID8"]}, "[patient] sex: 'PID8' names no HL7 field"),
    ("step", {"modality": ["OBR-24"] * 33}, "[step] modality: has more than 32 places"),
    ("events", {"ORM^O01": "orders"}, "[events] ORM^O01: "),
    ("control", {"NW": "make"}, "[control] NW: 'make' is not a valid Action"),
    ("control", {"NW": {"SC": "create"}}, "[control] NW: must be an action, or a table"),
    ("time", {"zone": "Mars/Olympus"}, "[time] zone: 'Mars/Olympus' is no IANA time zone"),
    ("time", {"msh7_offset": "no"}, "[time] msh7_offset: "),
    ("message", {"charset": 8859}, "[message] charset: "),
    ("procedure", {"study_uid_policy": "guess"}, "[procedure] study_uid_policy: "),
    ("patient_identifier", {"from": []}, "[patient_identifier] from: "),
    ("patient_identifier", {"default_issuer": "a^b^c^d"}, "[patient_identifier] default_issuer: "),
    ("values", {"colour": {"R": "red"}}, "[values.colour] belongs to no column"),
    ("modalities", {"synonyms": {"NMR": "MRX"}}, "[modalities]: the synonym NMR leads to 'MRX'"),
    ("observations", {"heart_rate": {}}, "[observations] heart_rate"),
]


@pytest.mark.parametrize(("table", "keys", "message"), WRONG, ids=lambda each: str(each)[:40])
def test_an_error_names_file_table_and_key(table, keys, message):
    with pytest.raises(ConfigError) as caught:
        profile.parse(document(**{table: keys}), "site.toml")
    text = str(caught.value)
    assert text.startswith("site.toml: ")
    assert message in text
    assert "\n" not in text


def test_a_missing_table_is_named():
    given = document()
    del given["control"]
    with pytest.raises(ConfigError, match=re.escape("site.toml: [control]: is missing")):
        profile.parse(given, "site.toml")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"modality": "CT"}, "needs a code or a station to match"),
        ({"code": "CT*"}, "needs a modality or stations to give"),
        ({"code": "CT*", "modality": "SCAN"}, "unknown modality 'SCAN'"),
        ({"code": "CT*", "stations": ["SEVENTEEN_LETTERS"]}, "stations"),
        ({"code": "CT*", "modality": "CT", "colour": "red"}, "colour: no such key"),
    ],
)
def test_a_rule_that_can_do_nothing_is_refused(rule, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        profile.parse(document() | {"rule": [rule]}, "site.toml")


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path):
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        profile.load(missing)
    broken = tmp_path / "broken.toml"
    broken.write_text("[message\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: "):
        profile.load(broken)
