"""What the keys of a query mean (PS3.4 C.2.2.2)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwl.errors import Reason, Rejected
from mwl.matching import (
    MAX_VALUE,
    MAX_VALUES,
    UNIVERSAL,
    AnyOf,
    Range,
    Single,
    Start,
    Wildcard,
    dates,
    name,
    start,
    text,
    times,
    uids,
)


@pytest.mark.parametrize("key", ["", " ", "\0", "*", "**", "\\", "*\\CT", " * "])
def test_an_empty_key_or_a_lone_asterisk_matches_everything(key):
    assert text(key, "Modality") is UNIVERSAL
    assert UNIVERSAL.matches("")


@pytest.mark.parametrize("key", ["CT", "?", "?*", "C*"])
def test_no_other_key_matches_an_unknown_value(key):
    assert not text(key, "Modality").matches("")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("A*", "ABC", True),
        ("A*", "a", False),
        ("*C", "ABC", True),
        ("A?C", "ABC", True),
        ("A?C", "AC", False),
        ("A*C", "AC", True),
        ("A*B*C", "A-C-B-C", True),
        ("A*B*C", "A-C-B", False),
        ("A%C", "ABC", False),
        ("A%*", "A%B", True),
        ("A_C", "ABC", False),
        ("A[BC]*", "AB", False),
        ("A[BC]*", "A[BC]D", True),
        ("?", "ü", True),
        ("a*b", "a*b", True),
        ("a*b", "axyb", True),
    ],
)
def test_an_asterisk_is_any_text_and_a_question_mark_one_character(key, value, expected):
    assert text(key, "AdmissionID").matches(value) is expected


def test_a_run_of_wildcards_counts_its_question_marks():
    assert text("A*?**?*", "AdmissionID") == Wildcard("A??*")


def test_retrieval_by_single_value_takes_wildcards_literally():
    assert text("1*", "PatientID", wildcards=False) == Single("1*")
    assert text("*", "PatientID", wildcards=False) is UNIVERSAL


def test_padding_around_a_key_means_nothing():
    assert text(" CT \0", "Modality") == Single("CT")
    assert uids("1.2.3\0", "StudyInstanceUID") == Single("1.2.3")


def test_several_values_match_what_any_of_them_matches():
    assert uids("1.2\\3.4", "StudyInstanceUID") == AnyOf((Single("1.2"), Single("3.4")))
    assert text("PT\\CT", "Modality").matches("CT")
    assert text("PT\\C*\\", "Modality").matches("CT")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("doe^jane", "Doe^Jane", True),
        ("DOE^JANE^^^", "Doe^Jane", True),
        ("Doe^Jane", "Doe^Jane^^^", True),
        ("Doe", "Doe^Jane", False),
        ("Doe*", "Doe^Jane", True),
        ("doe^j*", "Doe^Jane", True),
        ("Doe^*", "Doe", True),
        ("Doe^*^*", "Doe^Jane", True),
        ("Doe^^*", "Doe^Jane", False),
        ("Doe^^*", "Doe^^M", True),
        ("Doe^^*", "Doe", True),
        ("DO*E^J?NE", "Doe^Jane", True),
        ("*jane", "Doe^Jane", True),
        ("STRASSE^A", "Straße^A", True),
        ("müller", "MU\u0308LLER", True),
        ("", "", True),
        ("^^^^", "", True),
        ("*^*", "", True),
        ("=", "", True),
        ("doe", "", False),
        ("Yamada^Tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("==やまだ*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("Yamada^Tarou=山本*", "Yamada^Tarou=山田^太郎", True),
        ("Ya*太郎", "Yamada^Tarou=山田^太郎", False),
        ("Yamada^Tarou?山田^太郎", "Yamada^Tarou=山田^太郎", False),
    ],
)
def test_names_match_by_group_without_case_or_trailing_components(key, value, expected):
    assert name(key, "PatientName").matches(value) is expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("20300102", Range("20300102", "20300102", stated=False)),
        ("20300102-", Range("20300102", "")),
        ("-20300102", Range("", "20300102")),
        ("20300102-20300105", Range("20300102", "20300105")),
        ("20300102 - 20300105 ", Range("20300102", "20300105")),
        ("2030.01.02", Range("20300102", "20300102", stated=False)),
        ("20300201-20300231", Range("20300201", "20300231")),
        ("", UNIVERSAL),
        ("*", UNIVERSAL),
        ("-", UNIVERSAL),
    ],
)
def test_dates_are_days_or_ranges_of_days(key, expected):
    assert dates(key, "ScheduledProcedureStepStartDate") == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("1030", Range("103000", "103059", stated=False)),
        ("10", Range("100000", "105959", stated=False)),
        ("103015.123456", Range("103015", "103015", stated=False)),
        ("10:30:15", Range("103015", "103015", stated=False)),
        ("10-12", Range("100000", "125959")),
        ("1000-", Range("100000", "")),
        ("-1800", Range("", "180059")),
        ("235960", Range("235959", "235959", stated=False)),
    ],
)
def test_a_time_stands_for_its_whole_span(key, expected):
    assert times(key, "ScheduledProcedureStepStartTime") == expected


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (dates, "2030"),
        (dates, "2030-01-02"),
        (dates, "20301301"),
        (dates, "2030010²"),
        (dates, "20300102-today"),
        (dates, "2030*"),
        (times, "25"),
        (times, "1"),
        (times, "10:"),
        (times, "1030-9"),
        (text, "A\0B"),
    ],
)
def test_a_key_that_is_no_value_of_its_type_is_rejected(read, key):
    with pytest.raises(Rejected) as caught:
        read(key, "Where")
    assert caught.value.faults[0].reason is Reason.MALFORMED
    assert caught.value.faults[0].where == "Where"


@pytest.mark.parametrize(("read", "most"), [(text, MAX_VALUES), (uids, MAX_VALUES), (name, 16)])
def test_a_key_over_its_bounds_is_rejected(read, most):
    read("A" * MAX_VALUE, "Where")
    read("\\".join(["1"] * most), "Where")
    for key in ("A" * (MAX_VALUE + 1), "\\".join(["1"] * (most + 1)), "\\" * 100_000):
        with pytest.raises(Rejected) as caught:
            read(key, "Where")
        assert caught.value.faults[0].reason is Reason.TOO_LONG


def test_hundreds_of_wildcards_cost_no_time():
    key = text("*a" * (MAX_VALUE // 2), "AdmissionID")
    begun = time.perf_counter()
    assert not key.matches("a" * 100 + "b" * 10_000)
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    ("date", "time_", "expected"),
    [
        ("", "", Start()),
        ("20300705", "", Start(Range("20300705000000", "20300705235959"))),
        ("20300705-", "1000-1800", Start(Range("20300705100000", ""))),
        ("-20300707", "1000-1800", Start(Range("", "20300707180059"))),
        ("20300705", "1000-", Start(Range("20300705100000", "20300705235959"))),
        ("20300705", "1030", Start(Range("20300705103000", "20300705103059"))),
        ("", "1000-1800", Start(UNIVERSAL, Range("100000", "180059"))),
        (
            "20300705-20300707",
            "1030",
            Start(
                Range("20300705000000", "20300707235959"), Range("103000", "103059", stated=False)
            ),
        ),
    ],
)
def test_start_date_and_time_are_one_range(date, time_, expected):
    assert start(dates(date, "d"), times(time_, "t")) == expected


def test_the_standards_own_example_of_a_combined_range():
    # K.6.1.2.2: July 5 to July 7 and 10am to 6pm: from July 5, 10am until July 7, 6pm.
    asked = start(dates("20300705-20300707", "d"), times("1000-1800", "t"))
    assert asked.matches("20300705100000")
    assert asked.matches("20300706233000")
    assert asked.matches("20300707180000")
    assert not asked.matches("20300705093000")
    assert not asked.matches("20300707190000")


@given(st.text(alphabet="ab*?^= \\", max_size=12), st.text(alphabet="abAB^=", max_size=8))
def test_every_short_key_has_a_meaning(key, value):
    assert isinstance(name(key, "PatientName").matches(value), bool)
    assert isinstance(text(key, "AdmissionID").matches(value), bool)


@given(st.text(alphabet="ab^", max_size=8))
def test_a_name_matches_itself_and_every_prefix_with_an_asterisk(value):
    for cut in range(len(value) + 1):
        assert name(value[:cut] + "*", "PatientName").matches(value) or not value.strip("^")
    assert name(value, "PatientName").matches(value)
