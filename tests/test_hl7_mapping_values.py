from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7.mapping.report import Report
from hl7.mapping.times import NotATime, read_date, read_instant
from hl7.mapping.values import ae_title, identifier, line, lines, uid
from mwl.errors import Reason
from tests.builders import adt_a08, orm
from tests.hl7_mapping import BERLIN, mapper, order, procedure, read, step, wheres

# ---- times ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19800229", "19800229"),
        ("198002291230", "19800229"),
        ("19800229233000-1100", "19800229"),  # a DA never shifts
        ("1980", None),
        ("198002", None),
        ("00000000", None),
    ],
)
def test_a_birth_date_is_a_whole_day_or_nothing(text, expected):
    assert read_date(text) == expected


@pytest.mark.parametrize(
    "text", ["19810229", "1981-02-28", "yesterday", "1981022", "٢٠٢٠٠١٠١", "-"]
)
def test_what_is_no_date_is_malformed(text):
    with pytest.raises(NotATime):
        read_date(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20300102093000", datetime(2030, 1, 2, 8, 30, tzinfo=UTC)),
        ("203001020930", datetime(2030, 1, 2, 8, 30, tzinfo=UTC)),
        ("2030010209", datetime(2030, 1, 2, 8, 0, tzinfo=UTC)),
        ("20300702093000", datetime(2030, 7, 2, 7, 30, tzinfo=UTC)),
        ("20300102093000.1234", datetime(2030, 1, 2, 8, 30, 0, 123400, tzinfo=UTC)),
        ("20300102093000-0500", datetime(2030, 1, 2, 14, 30, tzinfo=UTC)),
        ("203001020930+0530", datetime(2030, 1, 2, 4, 0, tzinfo=UTC)),
    ],
)
def test_a_time_without_offset_is_wall_clock_of_the_zone(text, expected):
    assert read_instant(text, BERLIN) == (expected, "")


@pytest.mark.parametrize(
    "text",
    [
        "2030",
        "203001",
        "20301301",
        "203001022500",
        "203001022460",
        "20300102093000+9900",
        "20300102093000+01",
        "20300102T0930",
        "0001010112",
        "",
        "now",
    ],
)
def test_what_is_no_time_of_a_day_is_malformed(text):
    with pytest.raises(NotATime):
        read_instant(text, BERLIN)


def test_a_day_alone_is_its_midnight_and_flagged():
    instant, note = read_instant("20300102", BERLIN)
    assert instant == datetime(2030, 1, 1, 23, 0, tzinfo=UTC)
    assert "midnight" in note


def test_a_time_that_the_clock_skips_lands_an_hour_later():
    instant, note = read_instant("20300331023000", BERLIN)
    assert instant.astimezone(BERLIN).strftime("%H:%M %z") == "03:30 +0200"
    assert "put forward" in note


def test_a_time_that_comes_twice_is_the_first():
    instant, note = read_instant("20301027023000", BERLIN)
    assert instant.astimezone(BERLIN).strftime("%H:%M %z") == "02:30 +0200"
    assert "put back" in note


@given(
    st.integers(-2_000_000_000, 5_000_000_000).map(
        lambda second: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).replace(
            tzinfo=None
        )
    ),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_a_wall_clock_comes_back_as_it_was(naive, name):
    zone = ZoneInfo(name)
    instant, note = read_instant(naive.strftime("%Y%m%d%H%M%S").zfill(14), zone)
    back = instant.astimezone(zone).replace(tzinfo=None)
    assert back == naive or "put forward" in note
    assert abs(back - naive) <= timedelta(hours=1)


# ---- values -----------------------------------------------------------------------------


def test_a_description_is_mended_and_shortened_visibly():
    report = Report()
    assert line("a\\b\tc", 64, "OBR-4.2", report) == "a/b c"
    assert line("x" * 70, 64, "OBR-4.2", report) == "x" * 61 + "..."
    assert report.take_flags() == [
        "OBR-4.2: backslash or control characters replaced",
        "OBR-4.2: shortened to 64 characters",
    ]


def test_lengths_count_characters():
    report = Report()
    assert line("ä" * 64, 64, "OBR-4.2", report) == "ä" * 64
    assert identifier("名" * 16, 16, "OBR-18", report) == "名" * 16
    assert not report.faults
    assert not report.take_flags()


def test_notes_keep_their_lines():
    report = Report()
    assert lines(["a\nb", "c\\d"], 100, "NTE-3", report) == "a\r\nb\r\nc/d"
    assert len(lines(["x" * 11_000], 10_240, "NTE-3", report)) == 10_240


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x" * 17, Reason.TOO_LONG), ("a\\b", Reason.MALFORMED), ("a\x07b", Reason.MALFORMED)],
)
def test_an_identifier_is_taken_as_it_is_or_not_at_all(text, reason):
    report = Report()
    assert identifier(text, 16, "OBR-18", report, 2) is None
    (fault,) = report.faults
    assert (fault.reason, fault.where, fault.occurrence) == (reason, "OBR-18", 2)
    assert text not in fault.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.2." + "3" * 61, Reason.TOO_LONG),
        ("1.2.x", Reason.MALFORMED),
        ("1.2.", Reason.MALFORMED),
        (".1.2", Reason.MALFORMED),
        ("1..2", Reason.MALFORMED),
        ("12", Reason.MALFORMED),
        ("1.2/../3", Reason.MALFORMED),
        ("１.２", Reason.MALFORMED),
    ],
)
def test_a_uid_is_numbers_and_dots(text, reason):
    report = Report()
    assert uid(text, "ZDS-1.1", report) is None
    assert [fault.reason for fault in report.faults] == [reason]


def test_a_uid_with_leading_zeros_is_flagged():
    report = Report()
    assert uid("1.02.3", "ZDS-1.1", report) == "1.02.3"
    assert report.take_flags() == ["ZDS-1.1: a UID with leading zeros"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(" CT1 ", "CT1"), ("CT 1", "CT 1"), ("x" * 17, None), ("CT\\1", None), ("CTÄ", None)],
)
def test_an_ae_title_is_at_most_16_ascii_characters(text, expected):
    report = Report()
    assert ae_title(text, "IPC-9", report) == expected
    assert bool(report.faults) is (expected is None)


@given(st.text(max_size=200))
def test_a_mended_text_always_fits(text):
    mended = line(text, 64, "OBR-4.2", Report())
    assert len(mended) <= 64
    assert "\\" not in mended
    assert not any(ord(character) < 32 or character == "\x7f" for character in mended)


# ---- names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xpn", "expected"),
    [
        ("Doe^Jane^Q", "Doe^Jane^Q"),
        ("Doe^Jane", "Doe^Jane"),
        ("Doe", "Doe"),
        # XPN: suffix, prefix, degree; PN: prefix, suffix
        ("Doe^Jane^Q^Jr^Dr^MD", "Doe^Jane^Q^Dr^Jr MD"),
        ("Doe^Jane^^^^MD", "Doe^Jane^^^MD"),
        ("Doe^Jane^^^Dr", "Doe^Jane^^Dr"),
        ("van Beethoven&van&Beethoven^Ludwig", "van Beethoven^Ludwig"),
        ("&van&Beethoven^Ludwig", "van Beethoven^Ludwig"),
        ('Doe^""^Q', "Doe^^Q"),
        ("O\\T\\Neil^Jane", "O&Neil^Jane"),
        ("山田^太郎^^^^^L^I~ヤマダ^タロウ^^^^^L^P", "=山田^太郎=ヤマダ^タロウ"),
        ("Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I", "Yamada^Tarou=山田^太郎"),
        ("Doe^Jane^^^^^L~Roe^Jane^^^^^M", "Doe^Jane"),
        ('""', None),
    ],
)
def test_a_patient_name_is_written_in_dicoms_order(xpn, expected):
    assert order(orm(PID_5=xpn)).patient.fields["patient_name"] == expected


@pytest.mark.parametrize(
    ("xpn", "expected"),
    [("A\\S\\B^C", "A B^C"), ("A=B^C", "A B^C"), ("A\\E\\B^C", "A/B^C"), ("A\\X07\\B^C", "A B^C")],
)
def test_what_would_structure_a_name_is_replaced_and_flagged(xpn, expected):
    change = order(orm(PID_5=xpn))
    assert change.patient.fields["patient_name"] == expected
    assert "PID-5: characters that structure a DICOM name replaced" in change.flags


def test_a_name_of_more_than_64_characters_is_shortened_visibly():
    change = order(orm(PID_5="x" * 80 + "^Jane"))
    assert change.patient.fields["patient_name"] == "x" * 61 + "..."
    assert "PID-5: shortened to 64 characters" in change.flags


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7^Chen^Li^M^Jr^Dr^MD", "Chen^Li^M^Dr^Jr MD"),
        ("^Chen^Li", "Chen^Li"),
        ("^A^B~^C^D", "A^B"),
    ],
)
def test_physicians_are_read_from_xcn(value, expected):
    change = order(orm(PV1_8=value))
    assert change.fields["referring_physician"] == expected


def test_an_identifier_alone_is_no_physicians_name():
    assert "referring_physician" not in order(orm(PV1_8="12345")).fields


@pytest.mark.parametrize("value", ["7&Okafor&Ada^20300101^20300102", "7^Okafor^Ada"])
def test_the_performing_physician_stands_in_ndl_or_as_xcn(value):
    assert step(orm(OBR_34=value)).fields["performing_physician"] == "Okafor^Ada"


def test_the_orderer_comes_from_obr_16_else_orc_12():
    assert order(orm(ORC_12="1^X^Y")).fields["requesting_physician"] == "Welby^Marcus"
    assert order(orm(OBR_16=None, ORC_12="1^X^Y")).fields["requesting_physician"] == "X^Y"


# ---- coded values and observations ---------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [("F", "F"), ("m", "M"), ("O", "O"), ("A", "O"), ("N", "O"), ("U", None), ("F^Female", "F")],
)
def test_sex_is_one_of_three_or_empty(value, expected):
    change = order(orm(PID_8=value))
    assert change.patient.fields["sex"] == expected
    assert change.flags == []


def test_an_unknown_sex_is_empty_and_flagged():
    change = order(orm(PID_8="X"))
    assert change.patient.fields["sex"] is None
    assert change.flags == ["PID-8: a value that is not in [values.sex]"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("S", "STAT"), ("A", "HIGH"), ("P", "HIGH"), ("C", "HIGH"), ("R", "ROUTINE"), ("T", "MEDIUM")],
)
def test_priorities_are_dicoms(value, expected):
    assert procedure(orm(ORC_7=f"^^^^^{value}")).fields["priority"] == expected
    assert procedure(orm(ORC_7=None, OBR_27=f"^^^^^{value}")).fields["priority"] == expected


def test_an_unknown_priority_is_not_taken():
    change = order(orm(ORC_7="^^^^^PRN"))
    assert "priority" not in change.procedures[0].fields
    assert change.flags == ["ORC-7.6: a value that is not in [values.priority]"]


@pytest.mark.parametrize(
    ("value", "expected"), [("B6", "3"), ("A0~B6", "3"), ("A0", "absent"), ('""', None)]
)
def test_only_b6_says_pregnant(value, expected):
    change = order(orm(PV1_15=value))
    assert change.fields.get("pregnancy_status", "absent") == expected
    assert change.flags == []


@pytest.mark.parametrize(
    ("obx", "column", "expected"),
    [
        ("OBX|1|NM|29463-7^Body weight^LN||65|kg", "patient_weight", "65"),
        ("OBX|1|NM|3141-9^x^LN||65.4|kg^kilogram^UCUM", "patient_weight", "65.4"),
        ("OBX|1|ST|^Body Weight||3200|g", "patient_weight", "3.2"),
        ("OBX|1|ST|^BODY WEIGHT||150|[lb_av]", "patient_weight", "68.0389"),
        ("OBX|1|NM|X^y^L^8302-2^Body height^LN||165|cm", "patient_size", "1.65"),
        ("OBX|1|ST|^Body Height||1.65|m", "patient_size", "1.65"),
        ('OBX|1|ST|^Body Height||""|m', "patient_size", None),
    ],
)
def test_weight_and_size_are_converted(obx, column, expected):
    assert order(orm(after=[obx])).fields[column] == expected


@pytest.mark.parametrize(
    ("obx", "flag"),
    [
        ("OBX|1|ST|^Body Weight||65|", "OBX-6"),
        ("OBX|1|ST|^Body Weight||10|stone", "OBX-6"),
        ("OBX|1|ST|^Body Weight||1,65|kg", "OBX-5"),
        ("OBX|1|ST|^Body Weight||-65|kg", "OBX-5"),
        ("OBX|1|ST|^Body Weight||NaN|kg", "OBX-5"),
        ("OBX|1|ST|^Body Weight||1e999999|kg", "OBX-5"),
    ],
)
def test_no_unit_and_no_number_is_ever_guessed(obx, flag):
    change = order(orm(after=[obx]))
    assert "patient_weight" not in change.fields
    assert change.flags[0].startswith(flag)


# ---- modality ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [("CT", "CT"), ("ct", "CT"), ("NMR", "MR"), ("DR", "DX"), ("PT/CT", "PT"), ("RUS", "US")],
)
def test_modalities_and_their_synonyms_are_known(value, expected):
    assert step(orm(OBR_24=value)).fields["modality"] == expected


def test_an_unknown_modality_is_flagged_and_never_taken():
    change = order(orm(OBR_24="RAD"))
    assert "modality" not in change.procedures[0].steps[0].fields
    assert change.flags[0] == "OBR-24: a modality that is not in [modalities]: not taken"


def test_a_rule_on_the_code_says_what_the_message_does_not():
    by = mapper([{"code": "CT*", "modality": "CT", "stations": ["CT1", "CT2"]}])
    found = step(orm(OBR_24="RAD"), by)
    assert (found.fields["modality"], found.stations) == ("CT", ("CT1", "CT2"))
    assert step(orm(OBR_24="MR"), by).fields["modality"] == "MR"
    assert "modality" not in step(orm(OBR_4="XR1^x", OBR_24=None), by).fields


def test_a_rule_on_the_station_gives_its_modality():
    by = mapper([{"station": "MR?", "modality": "MR"}], step={"stations": ["ORC-18"]})
    found = step(orm(OBR_24=None, ORC_18="MR1"), by)
    assert (found.fields["modality"], found.stations) == ("MR", ("MR1",))


# ---- faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"PID_3": None}, ("missing", "PID-3")),
        ({"PID_3": '""'}, ("missing", "PID-3")),
        ({"PID_3": "123^^^ADT1^SS"}, ("missing", "PID-3")),
        ({"PID_3": "x" * 65}, ("too long", "PID-3.1")),
        ({"PID_3": "1\\E\\2"}, ("malformed", "PID-3.1")),
        ({"PID_7": "19810229"}, ("malformed", "PID-7")),
        ({"ORC_1": None}, ("missing", "ORC-1")),
        ({"ORC_1": "ZZ"}, ("unknown code", "ORC-1")),
        (dict.fromkeys(["ORC_2", "ORC_3", "OBR_2", "OBR_3"]), ("missing", "ORC-3")),
        ({"ORC_3": "x" * 65}, ("too long", "ORC-3")),
        ({"ORC_3": None, "OBR_3": "x" * 65}, ("too long", "OBR-3")),
        ({"OBR_4": None, "OBR_19": None}, ("missing", "OBR-4")),
        ({"OBR_18": "x" * 17}, ("too long", "OBR-18")),
        ({"OBR_19": "x" * 17}, ("too long", "OBR-19")),
        ({"OBR_20": "x" * 17}, ("too long", "OBR-20")),
        ({"ZDS_1": "1.2.x"}, ("malformed", "ZDS-1.1")),
        ({"ORC_7": "^^^20301301"}, ("malformed", "ORC-7.4")),
        ({"MSH_9": "MDM^T02"}, ("unsupported type", "MSH-9.1")),
        ({"MSH_9": "ADT^A18"}, ("unsupported event", "MSH-9.2")),
        ({"MSH_9": "ORM^O02"}, ("unsupported event", "MSH-9.2")),
        ({"MSH_9": None}, ("unsupported type", "MSH-9.1")),
        ({"MSH_11": "T"}, ("unsupported processing", "MSH-11")),
        ({"MSH_11": None}, ("unsupported processing", "MSH-11")),
        ({"MSH_10": None}, ("missing", "MSH-10")),
        ({"MSH_10": "x" * 200}, ("too long", "MSH-10")),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_a_fault_names_the_field(fields, expected):
    assert wheres(orm(**fields)) == [expected]


def test_all_faults_of_a_message_are_told_at_once():
    text = orm(PID_3=None, PID_7="x", OBR_18="y" * 17, OBR_20="z" * 17, ZDS_1="1.2.x")
    places = [where for _, where in wheres(text)]
    assert sorted(places) == ["OBR-18", "OBR-20", "PID-3", "PID-7", "ZDS-1.1"]


def test_a_cancel_needs_no_more_than_to_name_its_order():
    change = order(orm(ORC_1="CA", ORC_5="CA", OBR_18="x" * 17, ZDS_1="junk", ORC_7="^^^junk"))
    assert change.number.id == "FO1"


def test_demographics_alone_say_when_they_are_at_fault():
    assert wheres(adt_a08(PID_3=None, PID_7="19801301")) == [
        ("missing", "PID-3"),
        ("malformed", "PID-7"),
    ]


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=60))
def test_no_text_in_a_name_or_description_breaks_the_reader(text):
    text = text.replace("\r", "").replace("\n", "").replace("\0", "")
    try:
        (change,) = read(orm(PID_5=text.replace("|", ""), OBR_4=f"C^{text.replace('|', '')}"))
    except ValueError:
        return  # a field that er7 can't read
    name = change.patient.fields.get("patient_name") or ""
    assert "\\" not in name
    assert all(len(group) <= 64 for group in name.split("="))
