"""ORU^R01 as reports: what they say, who said it, how far they are, and what is in them."""

import base64
from pathlib import Path

import pytest

from hl7.er7 import character_sets
from mwl import charsets
from mwl.patients import Identifier
from mwl.reports import Kind, Part, ReportChange, Status
from tests.builders import oru
from tests.hl7_mapping import document, mapper, read, wheres

SAMPLES = Path(__file__).parent / "data" / "hl7"
PDF = b"%PDF-1.4\n1 0 obj"
_CDA = "text/x-hl7-cda-level-one"


def reports(text: str, by=None) -> list[ReportChange]:
    found = read(text, by)
    assert all(isinstance(each, ReportChange) for each in found)
    return found  # type: ignore[return-value]


def report(text: str, by=None) -> ReportChange:
    (found,) = reports(text, by)
    return found


def parts(text: str) -> list[Part]:
    return report(text).parts


def part(**fields: str) -> Part:
    (found,) = parts(oru(**fields))
    return found


def sample(name: str) -> ReportChange:
    raw = (SAMPLES / name).read_bytes()
    return report(charsets.decode(raw, character_sets(raw)).text)


def test_each_of_several_obr_under_one_orc_is_about_its_own_order():
    second = ["OBR||PO2^RIS|FO2^RIS|MRKNEE^Knee", "OBX|1|TX|1^R||Torn.||||||F", "OBR||||XR^Hip"]
    found = reports(_with_orc(oru(after=second)))
    assert [each.number for each in found] == ["FO1^RIS", "FO2^RIS", "FO1^RIS"]
    assert [each.placer and each.placer.id for each in found] == ["PO1", "PO2", "PO1"]
    # Alone it is about the order of its ORC, whatever the number of the report itself.
    assert report(_with_orc(oru(OBR_3="R9"))).number == "FO1^RIS"


def _with_orc(text: str) -> str:
    return text.replace("\rOBR", "\rORC|RE|PO1^RIS|FO1^RIS\rOBR", 1)


def test_a_report_is_about_a_patient_and_an_order():
    found = report(oru())
    assert found.patient == Identifier("PID1", "ADT1")
    assert (found.filler, found.placer) == (Identifier("FO1", "RIS"), Identifier("PO1", "RIS"))
    assert (found.number, found.code) == ("FO1^RIS", "CTHEAD")
    assert found.fields == {
        "title": "CT head",
        "interpreter": "House^Gregory",
        "others": "",
        "accession_number": "ACC1",
        "patient_name": "Doe^Jane^Q",
        "birth_date": "19800229",
    }
    assert found.status is Status.FINAL
    assert found.issued_at is not None
    assert found.issued_at.isoformat() == "2030-01-02T11:00:00+01:00"
    assert found.parts == [Part(Kind.TEXT, b"No bleeding.", "Diagnostic Imaging Report")]
    assert found.flags == []


@pytest.mark.parametrize(
    ("report_says", "observations_say", "status"),
    [
        ("F", "F", Status.FINAL),
        ("P", "F", Status.PRELIMINARY),
        ("C", "F", Status.CORRECTED),
        ("F", "C", Status.CORRECTED),
        ("X", "F", Status.CANCELED),
        ("A", "F", Status.PRELIMINARY),
        ("", "F", Status.FINAL),
        ("", "P", Status.PRELIMINARY),
        ("", "C", Status.CORRECTED),
        ("", "X", Status.CANCELED),
    ],
)
def test_how_far_it_is_follows_from_the_report_then_from_its_observations(
    report_says, observations_say, status
):
    found = report(oru(OBR_25=report_says, OBX_11=observations_say))
    assert found.status is status
    assert found.flags == []


@pytest.mark.parametrize(("said", "flag"), [("", "without a status"), ("?", "[report.states]")])
def test_a_status_that_nobody_knows_is_taken_as_preliminary_and_flagged(said, flag):
    found = report(oru(OBR_25=said, OBX_11=None))
    assert found.status is Status.PRELIMINARY
    assert any(flag in each for each in found.flags)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("One line", "One line"),
        ("First\\.br\\second\\.sp2\\third", "First\nsecond\n\nthird"),
        ("\\H\\Impression:\\N\\ none", "Impression: none"),
        ("First~second~~third", "First\nsecond\n\nthird"),
        ("5 mm \\T\\ more, 3 \\F\\ 4", "5 mm & more, 3 | 4"),
        ("a^b & c", "a^b & c"),
        ("Tab\\X09\\ bell\\X07\\", "Tab\t bell "),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
@pytest.mark.parametrize("value_type", ["TX", "FT", "ST", ""])
def test_texts_keep_their_lines_and_no_controls(value_type, value, text):
    assert part(OBX_2=value_type, OBX_5=value).content.decode() == text


@pytest.mark.parametrize(
    ("value_type", "value", "unit", "text"),
    [
        ("CE", "C65.2^Malignant neoplasm^I10", "", "Malignant neoplasm (C65.2, I10)"),
        ("CWE", "^Fracture", "", "Fracture"),
        ("CE", "C65.2", "", "C65.2"),
        ("NM", "4.5", "mm", "4.5 mm"),
        ("SN", ">^100", "ml", "> 100 ml"),
        ("TX", "4mmx6mm", "mm", "4mmx6mm"),
        ("XCN", "7^House^Gregory", "", "7 House Gregory"),
    ],
)
def test_codes_and_numbers_are_written_for_people(value_type, value, unit, text):
    assert part(OBX_2=value_type, OBX_5=value, OBX_6=unit).content.decode() == text


def test_lines_that_are_segments_are_one_text():
    lines = [f"OBX|{n}|TX|GDT^Report||line {n}||||||F" for n in range(1, 5)]
    (found,) = parts(oru(OBX=lines))
    assert found == Part(Kind.TEXT, b"line 1\nline 2\nline 3\nline 4", "Report")


def test_what_is_abnormal_or_has_another_label_is_a_part_of_its_own():
    found = parts(
        oru(
            OBX=[
                "OBX|1|TX|F^Findings||normal|||N|||F",
                "OBX|2|TX|F^Findings||a mass|||AA^Critical|||F",
                "OBX|3|TX|I^Impression||see above||||||F",
            ]
        )
    )
    assert [(each.label, each.abnormal) for each in found] == [
        ("Findings", ""),
        ("Findings", "Critical"),
        ("Impression", ""),
    ]


def test_what_is_deleted_or_wrong_is_left_out_and_flagged():
    gone = [f"OBX|{n}|TX|F^Findings||old||||||{code}" for n, code in enumerate("DW", 2)]
    found = report(oru(after=gone))
    assert [each.content for each in found.parts] == [b"No bleeding."]
    assert "OBX-11: a part that is deleted or wrong: left out" in found.flags


def test_notes_are_a_part():
    found = parts(oru(NTE=["NTE|1||Called the ward.", "NTE|2||At 11:20."]))
    assert found[-1] == Part(Kind.TEXT, b"Called the ward.\nAt 11:20.", "Comment")


@pytest.mark.parametrize(
    ("source", "content", "kind", "media_type"),
    [
        ("^Application^PDF", PDF, Kind.PDF, "application/pdf"),
        ("^AP^PDF", PDF, Kind.PDF, "application/pdf"),
        ("PDF^^", PDF, Kind.PDF, "application/pdf"),
        ("^TEXT^XML", b"<?xml version='1.0'?><a/>", Kind.MARKUP, "text/xml"),
        ("^TEXT^HTML", b"<html><script>1</script>", Kind.MARKUP, "text/html"),
        ("^TEXT^x-hl7-cda-level-one", b"<ClinicalDocument/>", Kind.MARKUP, _CDA),
        ("^TEXT^", b"plain", Kind.TEXT, "text/plain"),
        ("^IM^JPEG", b"\xff\xd8\xff\xe0", Kind.FILE, "image/jpeg"),
        ("^image^svg+xml", b"<svg/>", Kind.MARKUP, "image/svg+xml"),
        ("^AP^", b"\x00\x01", Kind.FILE, "application/octet-stream"),
        ("^AP^<script>", b"\x00\x01", Kind.FILE, "application/octet-stream"),
    ],
)
def test_a_document_is_shown_by_what_it_is(source, content, kind, media_type):
    data = base64.b64encode(content).decode()
    found = part(OBX_2="ED", OBX_5=f"{source}^Base64^{data}")
    assert found == Part(kind, content, "Diagnostic Imaging Report", media_type)


def test_what_is_said_to_be_a_pdf_and_is_none_is_a_file():
    data = base64.b64encode(b"<html>").decode()
    found = report(oru(OBX_2="ED", OBX_5=f"^AP^PDF^Base64^{data}"))
    assert [(each.kind, each.media_type) for each in found.parts] == [
        (Kind.FILE, "application/octet-stream")
    ]
    assert "OBX-5: said to be a PDF, and is none" in found.flags


def test_a_document_in_hexadecimal_is_read():
    assert part(OBX_2="ED", OBX_5=f"^AP^PDF^Hex^{PDF.hex()}").content == PDF


def test_a_pdf_where_a_text_belongs_is_one():
    data = base64.b64encode(PDF).decode()
    assert part(OBX_2="TX", OBX_5=data).kind is Kind.PDF


def test_what_is_not_encoded_is_all_of_the_rest_whatever_is_in_it():
    found = part(OBX_2="ED", OBX_5="^Text^text/xml^A^<a b='1'>x ^ y ~ z \\T\\ &amp;</a>")
    assert found.content == b"<a b='1'>x ^ y ~ z & &amp;</a>"


def test_data_that_can_not_be_decoded_refuse_the_message():
    assert wheres(oru(OBX_2="ED", OBX_5="^AP^PDF^Base64^%%%")) == [("malformed", "OBX-5.5")]


def test_a_pointer_is_a_text():
    found = part(OBX_2="RP", OBX_5="http://pacs/report?id=1\\T\\x=2^PACS^AP^PDF")
    assert (found.kind, found.media_type) == (Kind.LINK, "application/pdf")
    assert found.content == b"http://pacs/report?id=1&x=2^PACS^AP^PDF"


def test_the_study_is_read_from_observations_and_is_no_part():
    uid = "OBX|2|ST|113014^DICOM Study^DCM||1.2.3||||||F"
    other = "OBX|3|ST|^Study Instance UID||1.2.4||||||F"
    found = report(oru(after=[uid, other, "ZDS|1.2.5"]))
    assert found.study_uids == ("1.2.5", "1.2.3", "1.2.4")
    assert len(found.parts) == 1


def test_several_orders_of_a_message_are_reports_each():
    more = "OBR|2|PO2|FO2|MRHEAD^MR head|||||||||||||||||||||P\rOBX|1|TX|X||later||||||P"
    first, second = reports(oru(after=more))
    assert (first.number, second.number) == ("FO1^RIS", "FO2")
    assert (first.status, second.status) == (Status.FINAL, Status.PRELIMINARY)
    assert [each.content for each in second.parts] == [b"later"]


def test_without_an_identifier_the_report_is_kept_and_flagged():
    found = report(oru(PID_3=None))
    assert found.patient == Identifier("")
    assert any("whose report it is, is open" in flag for flag in found.flags)


def test_a_message_without_obr_is_refused():
    assert wheres(oru(without=["OBR", "OBX"])) == [("sequence", "OBR")]


def test_a_report_without_content_is_flagged_unless_it_is_withdrawn():
    assert "a report without content" in report(oru(without=["OBX"])).flags
    assert report(oru(without=["OBX"], OBR_25="X")).flags == []


def test_a_number_too_long_for_one_names_no_order():
    found = report(oru(OBR_3="F" * 65, OBR_2=None))
    assert (found.filler, found.number) == (None, "")


def test_very_many_texts_become_one_at_last():
    lines = [f"OBX|{n}|TX|L{n}||text {n}||||||F" for n in range(1, 1001)]
    found = parts(oru(OBX=lines))
    assert len(found) == 200
    assert found[-1].content.endswith(b"L1000: text 1000")


def test_very_many_documents_are_refused():
    data = base64.b64encode(PDF).decode()
    lines = [f"OBX|{n}|ED|L{n}||^AP^PDF^Base64^{data}||||||F" for n in range(1, 203)]
    assert wheres(oru(OBX=lines)) == [("sequence", "OBX")]


def test_ten_thousand_lines_take_no_time():
    lines = [f"OBX|{n}|TX|X||{'word ' * 20}||||||F" for n in range(1, 9_900)]
    (found,) = parts(oru(OBX=lines))
    assert found.content.count(b"\n") == 9_898


def test_places_are_the_profiles():
    by = mapper(report={"title": ["OBR-44.2"], "states": {"4": "FINAL"}, "completes_order": True})
    found = report(oru(OBR_44="X^Chest^L", OBR_25="4"), by)
    assert (found.fields["title"], found.status) == ("Chest", Status.FINAL)
    assert found.completes


def test_the_samples_are_read():
    pdf, cda, sr = (sample(f"ORU_R01-{name}.hl7") for name in ("PDF", "CDA", "SR"))
    study = "1.2.392.200036.9125.0.198811291108.7"
    assert all(study in each.study_uids for each in (pdf, cda, sr))
    assert [each.kind for each in pdf.parts] == [Kind.TEXT, Kind.TEXT, Kind.PDF]
    assert pdf.parts[-1].content.startswith(b"%PDF-1.3")
    assert pdf.parts[-1].content.rstrip().endswith(b"%%EOF")
    assert cda.parts[-1].kind is Kind.MARKUP
    assert cda.parts[-1].content.startswith(b"<?xml")
    assert cda.parts[-1].content.rstrip().endswith(b"</ClinicalDocument>")
    assert [each.label for each in sr.parts[2:5]] == [
        "Procedure Findings",
        "Procedure Findings",
        "Liver Mass",
    ]
    assert "BACH SEGURA" in sr.fields["others"]
    for each in (pdf, cda, sr):
        assert each.status is Status.FINAL
        assert each.fields["accession_number"] == "AccessionNumber"
        assert each.flags == []


def test_conditions_constants_and_cuts_count_in_a_report():
    by = mapper(
        report={
            **document()["report"],
            "title": [{"from": "OBR-4.1 OBR-4.2", "when": {"MSH-4": "SITE*"}}, {"value": "Report"}],
            "code": [{"from": "OBR-4.1", "cut_start": "CT"}],
            "status": [{"value": "P", "when": {"OBX-11": "F", "MSH-4": "DRAFTS"}}, "OBR-25"],
            "interpreter": [{"from": "OBR-32", "when": {"MSH-4": "SITE*"}}, "OBR-33"],
        }
    )
    here = report(oru(MSH_4="SITE1", OBR_33="8&Wilson&James"), by)
    assert here.fields["title"] == "CTHEAD CT head"
    assert (here.code, here.status) == ("HEAD", Status.FINAL)
    assert here.fields["interpreter"] == "House^Gregory"
    there = report(oru(MSH_4="DRAFTS", OBR_33="8&Wilson&James"), by)
    assert there.fields["title"] == "Report"
    assert there.status is Status.PRELIMINARY
    assert there.fields["interpreter"] == "Wilson^James"
