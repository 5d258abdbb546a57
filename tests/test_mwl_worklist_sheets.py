"""The worklist as CSV: out, through a spreadsheet's hands, and in again."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mwl.errors import Rejected
from mwl.worklist import browse, sheets
from mwl.worklist.browse import Wanted
from mwl.worklist.groups import apply_each
from tests.test_mwl_wlfiles import NOW, ZONE, bring, entries, entry, save

HEAD = "patient_id,patient_name,modality,accession_number,start"


def written(database, wanted=browse.Wanted()):  # noqa: B008 - a value
    return "".join(sheets.written(database, wanted, now=NOW, zone=ZONE))


def read(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "w.csv"
    file.write_bytes(text.encode(encoding))
    return list(sheets.read(file, zone=ZONE))


def take_in(database, changes):
    outcomes = apply_each(database, changes, now=NOW, zone=ZONE)
    return [(line, str(each)) for line, each in outcomes if isinstance(each, Rejected)]


@pytest.fixture
def filled(sqlite_database, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    save(entry(1), given / "1.wl")
    save(entry(2, PatientName="=cmd|' /C calc'!A0", PatientID="-4711"), given / "2.wl")
    save(
        entry(3, PatientName='Doe, "Jim"^\u5c71', SpecificCharacterSet="ISO_IR 192"), given / "3.wl"
    )
    assert bring(sqlite_database, given).problems == []
    return sqlite_database


def test_a_file_says_what_the_listing_says(filled):
    rows = list(csv.DictReader(io.StringIO(written(filled))))
    listed = entries(filled)
    for row, entry_ in zip(rows, listed, strict=True):
        told = set(sheets.COLUMNS) - {"flags"}
        said = {name: value for name, value in entry_.items() if name in told}
        plain = {name: sheets._plain(row[name]) for name in said}
        assert plain == said
    assert (rows[0]["birth_date"], rows[0]["sex"]) == ("19800229", "F")


def test_no_cell_is_a_formula(filled):
    for row in csv.reader(io.StringIO(written(filled))):
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "'=cmd|" in written(filled)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_is_written_is_read_again(filled, postgresql_database, tmp_path, delimiter, mark):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(csv.reader(io.StringIO(written(filled))))
    changes = read(tmp_path, mark + text.getvalue())
    assert take_in(postgresql_database, changes) == []
    assert entries(postgresql_database) == entries(filled)
    assert written(postgresql_database) == written(filled)
    assert take_in(postgresql_database, changes) == []
    assert entries(postgresql_database) == entries(filled)


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20))
def test_whatever_a_cell_says_it_says_again(text):
    written_ = sheets._cell("patient_name", text, ZONE)
    assert sheets._plain(written_) == text.strip(" ")
    assert not written_.startswith(("=", "+", "-", "@"))


def test_only_what_is_wanted_is_written(filled):
    lines = written(filled, Wanted(text="P1")).splitlines()
    assert len(lines) == 2
    assert "ACC1" in lines[1]
    with pytest.raises(Rejected, match="day"):
        sheets.written(filled, Wanted(day="soon"), now=NOW, zone=ZONE)


def test_a_long_list_is_written_page_by_page(filled, monkeypatch):
    whole = written(filled)
    monkeypatch.setattr(sheets, "_PAGE", 2)
    assert written(filled) == whole


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",Doe,CT,A1,", "patient_id: is needed"),
        ("P1,,CT,A1,", "patient_name: is needed"),
        ("P1,Doe,,A1,", "modality: is needed"),
        ("P1,Doe,CT,,", "accession_number: nothing identifies the order"),
        (f"P1,Doe,CT,{'A' * 17},", "accession_number: more than 16 characters"),
        ("P1,Doe,CT,A1,tomorrow", "start: no time like 2026-07-01T10:30"),
        ("P1,Doe,CT,A1,0001-01-01T00:00", "start: no time like 2026-07-01T10:30"),
        (r"P1\P2,Doe,CT,A1,", "patient_id: several values"),
        ("P1,Doe,CT,A1,,,", "7 cells, and names for 5"),
        ("P1,D\0e,CT,A1,", "patient_name: no value of its type"),
    ],
)
def test_a_line_that_is_wrong_costs_no_other(sqlite_database, tmp_path, line, problem):
    changes = read(tmp_path, f"{HEAD}\n{line}\n\nP2,Roe,MR,A2,2030-01-02T09:00\n")
    assert take_in(sqlite_database, changes) == [(2, problem)]
    (there,) = entries(sqlite_database)
    assert there["patient_name"] == "Roe"
    assert there["start"] == "2030-01-02T09:00:00+01:00"


def test_a_final_state_is_not_taken_for_an_order(tmp_path):
    ((line, change),) = read(tmp_path, f"{HEAD},status\nP1,Doe,CT,A1,,COMPLETED\n")
    assert (line, str(change)) == (2, "status: the step is COMPLETED already")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no column 'patient_id', which is needed"),
        ("patient_id,name\n", "there is no column 'name'; there are "),
        ("patient_id,patient_id\n", "a column is there twice"),
        ("PK\x03\x04\x00\n", "there is no column"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, text, problem):
    with pytest.raises(Rejected, match=rf"\.csv:1: {problem}"):
        read(tmp_path, text)


def test_a_spreadsheet_s_old_encoding_is_told_of(tmp_path):
    with pytest.raises(Rejected, match='is not UTF-8: save it as "CSV UTF-8"'):
        read(tmp_path, f"{HEAD}\nP1,Müller,CT,A1,\n", "latin-1")


def test_what_has_no_lines_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "_MOST_LINE", 100)
    with pytest.raises(Rejected, match="a line of more than 100 characters"):
        read(tmp_path, f"{HEAD}\n" + "x" * 101)
