"""What a query finds, on both databases; a brute-force oracle says what it should."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mwl import matching
from mwl.errors import Outage
from mwl.matching import UNIVERSAL
from mwl.orders import StepState
from mwl.worklist.columns import COLUMNS
from mwl.worklist.find import KEYS, PAGE_ROWS, Query, first, pages
from mwl.worklist.scope import STARTED_VISIBLE, Caller
from tests.worklist_rows import NOW, insert_items, item

NAMES = [
    "Doe^Jane",
    "DOE^JOHN^Q",
    "Doe",
    "Doe%^A_B",
    "D[o]e^\\%",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "=山田^花子",
    "Müller^Änne",
    "Straße^Emil",
    "",
]
TEXTS = ["A1", "A%", "A_", "a1", "A\\1", "[A]", "A*", "", "Ä1"]
STARTS = ["20300101235959", "20300102000000", "20300102093000", "20300102093059", "20300103180000"]
STATIONS = [(), ("CT1",), ("CT1", "CT2"), ("MR1",)]


def insert(database, *items):
    return database.write(lambda session: insert_items(session, items))


def found(database, keys=None, caller=None, now=NOW):
    query = Query(("sps_id",), keys or {}, caller or Caller("CT1"))
    with database.read() as session:
        return [row[0] for row in first(session, query, now=now, most=5000)]


def crowd():
    """Make items in which every key has several values, the unknown one included."""
    for number in range(90):
        yield item(
            number,
            *STATIONS[number % 4],
            patient={
                "patient_id": f"{TEXTS[number % 9]}.{number}",
                "patient_name": NAMES[number % 10],
                "birth_date": ["19800229", "", "20000101"][number % 3],
                "sex": ["F", "M", "O", ""][number % 4],
            },
            order={"admission_id": TEXTS[number % 9]},
            procedure={"accession_number": TEXTS[(number + 1) % 9]},
            step={
                "modality": ["CT", "MR", ""][number % 3],
                "state": [*StepState][number % 9],
                "start_local": STARTS[number % 5],
                "performing_physician": NAMES[(number + 3) % 10],
            },
        )


texts = st.text(alphabet="aA1Ä%_*?[]\\", max_size=4)
names = st.one_of(
    st.sampled_from(NAMES),
    st.text(alphabet="doeDOE^*?=%_山田太", max_size=8),
    st.sampled_from(
        [
            "muller",
            "jane doe",
            "jan*",
            "Strase Emil",
            "yamata",
            "mueler\\doe",
            "Ane=do",
            "doe*",
            "*^jane",
            "d?e^*",
            "山田*",
            "=*子",
            "yamada*=x",
            "d*太*",
            "*strasse*",
        ]
    ),
)
dates = st.sampled_from(["", "20300102", "20300102-", "-20300102", "20300102-20300103"])
times = st.sampled_from(["", "0930", "0930-1800", "093030-", "-0930"])
states = st.sampled_from(["", "SCHEDULED", "COMPLETED", "HELD", "*E*", "STARTED\\READY"])
SINGLE = {"patient_id", "accession_number", "modality", "station_ae_titles"}


@st.composite
def queries(draw):
    keys = {
        name: matching.text(draw(texts), name, wildcards=name not in SINGLE)
        for name in draw(st.sets(st.sampled_from(["accession_number", "admission_id"])))
    }
    read = matching.fuzzy_name if draw(st.booleans()) else matching.name
    for name in draw(st.sets(st.sampled_from(["patient_name", "performing_physician"]))):
        keys[name] = read(draw(names), name)
    start = matching.start(matching.dates(draw(dates), ""), matching.times(draw(times), ""))
    keys |= {"start": start.instant, "time_of_day": start.time_of_day}
    keys["birth_date"] = matching.dates(draw(st.sampled_from(["", "19800229", "19900101-"])), "")
    for name, values in {
        "status": states,
        "modality": st.sampled_from(["", "", "CT", "CT\\MR"]),
        "station_ae_titles": st.sampled_from(["", "", "CT1", "CT2\\MR1", "NONE"]),
        "sex": st.sampled_from(["", "", "F", "?"]),
    }.items():
        keys[name] = matching.text(draw(values), name, wildcards=name not in SINGLE)
    return Query(("sps_id",), keys, Caller("X", draw(st.sampled_from([None, "CT", "US"]))))


def expected(items, query):
    """Go through all items with the matchers themselves."""
    rows = []
    for each in items:
        step = each["scheduled_step"]
        values = {
            **each["patient"],
            **each["imaging_order"],
            **each["requested_procedure"],
            **step,
            "start": step["start_local"],
            "time_of_day": step["start_local"][8:],
        }
        matched = all(
            key.matches(values[name]) or (name, values[name]) == ("modality", "")
            for name, key in query.keys.items()
            if name not in ("status", "station_ae_titles")
        )
        if matched and _visible(step, query) and _stationed(step, query):
            rows.append((step["start_local"], int(step["sps_id"][3:]), step["sps_id"]))
    return [row[-1] for row in sorted(rows)]


def _visible(step, query):
    key = query.keys.get("status", UNIVERSAL)
    if key == UNIVERSAL:
        return step["state"] in ("SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED")
    return step["state"] != "HELD" and key.matches(step["state"])


def _stationed(step, query):
    key = query.keys.get("station_ae_titles", UNIVERSAL)
    stations = [title for title in step["station_ae_titles"].split("\\") if title]
    if key == UNIVERSAL:
        return True
    if not stations:
        return step["modality"] in ("", query.caller.modality) or query.caller.modality is None
    return any(key.matches(title) for title in stations)


def test_sql_finds_what_the_matchers_find(database):
    items = list(crowd())
    insert(database, *items)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(queries())
    def agree(query):
        with database.read() as session:
            rows = first(session, query, now=NOW, most=100)
        assert [row[0] for row in rows] == expected(items, query)

    agree()


def test_every_column_and_every_key_can_be_asked_for(database):
    insert(database, item(1, "CT1", patient={"other_ids": [["X", "HOSP", "MR"]]}))
    keys = {name: matching.text("*?*", name) for name in KEYS - {"status"}}
    with database.read() as session:
        none = first(session, Query(tuple(COLUMNS), keys, Caller()), now=NOW, most=9)
        (row,) = first(session, Query(tuple(COLUMNS)), now=NOW, most=9)
    assert none == []  # the admission, for one, is unknown
    assert all(isinstance(value, str) for value in row[: len(COLUMNS)])
    told = dict(zip(COLUMNS, row, strict=False))
    assert told["other_ids"].replace(" ", "") == '[["X","HOSP","MR"]]'
    assert told["procedure_code"] == "CTHEAD\x1f99RIS\x1fCT of the head\x1f"
    assert row[-2:] == ("20300102093000", 1)


def test_a_description_is_answered_from_whatever_the_ris_named(database):
    blank = {"description": "", "code_value": "", "code_meaning": ""}
    insert(
        database,
        item(1, step={"description": ""}, procedure={"description": ""}),
        item(2, step={"description": "", "protocol_meaning": "Thin slices"}),
        item(3, step={"description": ""}, procedure=blank),
    )
    with database.read() as session:
        query = Query(("procedure_description", "step_description"))
        rows = [tuple(row[:2]) for row in first(session, query, now=NOW, most=9)]
    assert rows == [
        ("CT of the head", "CT of the head"),
        ("CT head", "Thin slices"),
        ("RP3", "RP3"),
    ]


def test_what_is_over_or_held_is_hidden_unless_its_status_is_asked_for(database):
    states = list(StepState)
    insert(database, *(item(n, step={"state": state}) for n, state in enumerate(states)))
    visible = [f"SPS{n}" for n, s in enumerate(states) if s in _ON_THE_LIST]
    assert found(database) == visible
    for n, state in enumerate(states):
        asked = found(database, {"status": matching.text(state, "")})
        assert asked == ([] if state is StepState.HELD else [f"SPS{n}"])
    assert found(database, {"status": matching.text("*", "")}) == visible


_ON_THE_LIST = {
    StepState.SCHEDULED,
    StepState.ARRIVED,
    StepState.READY,
    StepState.STARTED,
    StepState.DEPARTED,
}


def test_a_started_step_stays_for_twelve_hours(database):
    insert(database, item(1, step={"state": "STARTED", "state_at": NOW}))
    assert found(database, now=NOW + STARTED_VISIBLE) == ["SPS1"]
    assert found(database, now=NOW + STARTED_VISIBLE + timedelta(microseconds=1)) == []
    later = NOW + timedelta(days=9)
    assert found(database, {"status": matching.text("STARTED", "")}, now=later) == ["SPS1"]


def test_an_unassigned_step_is_found_by_any_station_of_its_modality(database):
    insert(
        database,
        item(1, step={"modality": "CT"}),
        item(2, step={"modality": "MR"}),
        item(3, "CT1", step={"modality": "CT"}),
    )
    mine = {"station_ae_titles": matching.text("CT9", "", wildcards=False)}
    assert found(database, mine, Caller("CT9", "CT")) == ["SPS1"]
    assert found(database, mine, Caller("US9", "US")) == []
    assert found(database, mine, Caller("STRANGER", None)) == ["SPS1", "SPS2"]


def test_a_step_of_unknown_modality_is_hidden_from_no_scanner(database):
    insert(
        database,
        item(1, step={"modality": ""}),
        item(2, "CT1", step={"modality": ""}),
        item(3, step={"modality": "MR"}),
    )
    station = matching.text("CT1", "", wildcards=False)
    for value in ("CT", "CT\\US", "C?"):
        modality = matching.text(value, "")
        assert found(database, {"modality": modality}) == ["SPS1", "SPS2"]
        both = {"modality": modality, "station_ae_titles": station}
        assert found(database, both, Caller("CT1", "CT")) == ["SPS1", "SPS2"]


def test_pages_follow_one_another_without_gap_or_repeat(database):
    total = 2 * PAGE_ROWS + 7
    # Many items start at the same second: the row's id goes on from there.
    insert(database, *(item(n, step={"start_local": STARTS[n % 2]}) for n in range(total)))
    read = [list(page) for page in pages(database, Query(("sps_id",)), now=NOW)]
    assert [len(page) for page in read] == [PAGE_ROWS, PAGE_ROWS, 7]
    rows = [row for page in read for row in page]
    assert [tuple(row[-2:]) for row in rows] == sorted(tuple(row[-2:]) for row in rows)
    assert len({row[0] for row in rows}) == total


def test_no_read_is_open_between_two_pages(sqlite_database):
    insert(sqlite_database, *(item(n) for n in range(PAGE_ROWS + 1)))
    reader = pages(sqlite_database, Query(("sps_id",)), now=NOW)
    next(reader)
    # A row that comes now is in the next page: it is another snapshot.
    insert(sqlite_database, item(9999))
    assert [row[0] for row in next(reader)] == [f"SPS{PAGE_ROWS}", "SPS9999"]


def test_a_database_that_is_gone_is_an_outage_and_no_empty_list(sqlite_database):
    sqlite_database.path.unlink()
    sqlite_database.path.mkdir()
    with pytest.raises(Outage):
        found(sqlite_database)


def test_a_key_with_hundreds_of_values_or_wildcards_is_answered(database):
    insert(database, item(1))
    uids = "\\".join(f"1.2.{n}" for n in range(255))
    assert found(database, {"study_instance_uid": matching.uids(uids, "")}) == []
    hostile = {
        "admission_id": matching.text("*a" * 128, ""),
        "patient_name": matching.name("\\".join(f"*%{n}_?b^*={n}*?y^*" for n in range(16)), ""),
    }
    assert found(database, hostile) == []
