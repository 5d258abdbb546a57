"""Every key, every way of matching, at every level, against a search through everything."""

import itertools
import random
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset

from mwl import archive
from mwl.archive.query import finding
from mwl.net import status
from mwl.net.options import NONE, Options
from mwl.net.pdu import IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.query import PATIENT_ROOT_FIND, STUDY_ROOT_FIND, QueryService
from tests import query_oracle as oracle
from tests.archive_rows import CT, MR, received
from tests.archived import ZONE
from tests.identifiers import element

ROOT = "1.2.826.0.1.3680043.8.498"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

# What values are made of: few of each, so that keys meet some and miss others.
VALUES = {
    "PatientName": (
        *("Doe^Jane", "DOE^JOHN", "Doe", "", "Müller^Änne", "O%Neil_^[x]"),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "PatientID": ("P1", "P2", "p1", "P_1", "Q%", ""),
    "IssuerOfPatientID": ("", "ADT", "OTHER"),
    "PatientBirthDate": ("", "19800229", "19991231"),
    "PatientSex": ("F", "M", "O", ""),
    "AccessionNumber": ("", "A1", "A*1", "A%1"),
    "StudyID": ("1", "S2", ""),
    "StudyDate": ("", "20300101", "20300102", "20300215"),
    "StudyTime": ("", "093000", "1730", "23", "000000.25"),
    "StudyDescription": ("Head", "Head CT", "head", "", "Kopf [nativ]"),
    "ReferringPhysicianName": ("Welby^Marcus", "", "Roe^Rita^^Dr."),
    "Modality": ("CT", "MR", "SR", ""),
    "SeriesNumber": ("1", "2", "10", ""),
    "SeriesDescription": ("axial", "Axial", ""),
    "StationName": ("CT1", "MR-ROOM", ""),
    "BodyPartExamined": ("HEAD", "CHEST", ""),
    "SeriesDate": ("", "20300102", "20300103"),
    "SeriesTime": ("", "0931", "235959"),
    "SOPClassUID": (CT, MR, SR),
    "InstanceNumber": ("1", "2", ""),
}
OF_LEVEL = {name: level for level, names in oracle.OWN.items() for name in names}
OF_LEVEL |= dict.fromkeys(oracle.LISTS, "STUDY")


def made():
    """Make 18 studies of up to three series of up to three instances."""
    chance = random.Random(3)
    people = [
        {name: chance.choice(VALUES[name]) for name in oracle.OWN["PATIENT"]} for _ in range(16)
    ]
    serial = itertools.count(1)
    instances = []
    for study in range(1, 19):
        of_study = chosen(chance, "STUDY") | {"StudyInstanceUID": f"{ROOT}.{study}"}
        person = people[0] if study < 4 else people[study - 3]
        for _ in range(chance.randint(1, 3)):
            uid = f"{ROOT}.{study}.{next(serial)}"
            of_series = chosen(chance, "SERIES") | {"SeriesInstanceUID": uid}
            for _ in range(chance.randint(1, 3)):
                of_image = chosen(chance, "IMAGE") | {"SOPInstanceUID": f"{ROOT}.7.{next(serial)}"}
                instances.append({**person, **of_study, **of_series, **of_image})
    return instances


def chosen(chance, level):
    return {name: chance.choice(VALUES[name]) for name in oracle.OWN[level] if name in VALUES}


INSTANCES = made()


def stored(instance, number):
    return received(
        number,
        study_instance_uid=instance["StudyInstanceUID"],
        series_instance_uid=instance["SeriesInstanceUID"],
        sop_instance_uid=instance["SOPInstanceUID"],
        sop_class_uid=instance["SOPClassUID"],
        content=str(number),
        **{name: instance[name] for name in VALUES if name != "SOPClassUID"},
    )


@dataclass
class Asked:
    """Stands for an association: keeps what is answered."""

    calling_title: str = "VIEWER"
    called_title: str = "MWL"
    address: str = "127.0.0.1"
    answers: list[bytes] = field(default_factory=list)
    status: int = -1

    def send_responses(self, _message, data_sets, _status):
        self.answers += data_sets
        return True

    def send_response(self, _message, code, **_more):
        self.status = code

    def cancelled(self, _message_id):
        return False


class Archive:
    def __init__(self, database):
        self._service = QueryService(database, ZONE)

    def find(self, level, keys, options=NONE):
        """Ask for all that a level tells; the answers, texts by keyword."""
        root = PATIENT_ROOT_FIND if level == "PATIENT" else STUDY_ROOT_FIND
        context = SimpleNamespace(
            abstract_syntax=root, transfer_syntax=IMPLICIT_VR_LITTLE_ENDIAN, options=options
        )
        asked = Asked()
        data = identifier(
            {
                "SpecificCharacterSet": "ISO_IR 192",
                "QueryRetrieveLevel": level,
                **dict.fromkeys(oracle.told(level), ""),
                **keys,
            }
        )
        command = SimpleNamespace(message_id=1)
        message = SimpleNamespace(context=context, command=command, data_set=data)
        self._service.handle(asked, message)
        assert asked.status == status.SUCCESS, (level, keys)
        return [read(answer, level) for answer in asked.answers]


def identifier(keys):
    """Encode texts by keyword, as pydicom would not all of them."""
    values = {tag_for_keyword(name): text.encode() for name, text in keys.items()}
    return b"".join(
        element(tag, value + b" " * (len(value) % 2)) for tag, value in sorted(values.items())
    )


def read(data, level):
    answer = read_dataset(BytesIO(data), True, True)
    answer.decode()
    return {name: text(answer[name].value, name) for name in oracle.told(level)}


def text(value, name):
    if value is None:
        return ""
    if name in oracle.LISTS:
        return "\\".join(sorted([value] if isinstance(value, str) else value))
    return str(value)


@pytest.fixture
def held(database):
    for number, each in enumerate(INSTANCES, 1):
        archive.store(database, stored(each, number))
    known = next(each for each in INSTANCES if each["PatientID"])
    stranger = {**known, "PatientID": "P9", "PatientName": "No^One"}  # is set aside
    archive.store(database, stored({**stranger, "SOPInstanceUID": f"{ROOT}.8"}, 999))
    return Archive(database)


def compared(held, level, keys, options=NONE):
    found = held.find(level, keys, options)
    expected = oracle.find(INSTANCES, level, keys, combined=options.combined_date_time)
    assert sorted(found, key=str) == sorted(expected, key=str), (level, keys, options)
    return len(expected)


def above(level):
    """Name everything above a level, as a hierarchical search must."""
    names = (oracle.UNIQUE[each] for each in oracle.down_to(level)[:-1] if each != "PATIENT")
    return {name: "\\".join(sorted({each[name] for each in INSTANCES})) for name in names}


def ways(name):
    """List keys for an attribute: single values, wildcards, lists, ranges, and what means all."""
    of = "Modality" if name == "ModalitiesInStudy" else name.replace("ClassesIn", "ClassUIDIn")
    of = "SOPClassUID" if name == "SOPClassesInStudy" else of
    values = [value for value in VALUES.get(of, ()) if value]
    if not values:  # a UID
        values = sorted({each[of] for each in INSTANCES})[:2]
        return [values[0], "\\".join(values), "", "1.2.3"]
    if of.endswith("Date"):
        first, last = values[0], values[-1]
        return [first, f"{first}-{last}", f"{last}-", f"-{first}", "", "19000101"]
    if of.endswith("Time"):
        return ["0930", "173000", "09-18", "1800-", "-0930", "", "12"]
    keys = [values[0], values[-1], "", "*", "none"]
    if of.endswith("UID"):
        return [*keys[:3], "\\".join(values[:2])]
    keys += [f"{values[0][:1]}*", f"*{values[-1][-1:]}", f"?{values[0][1:]}", "\\".join(values[:2])]
    if of.endswith("Name") and of != "StationName":
        keys += [values[0].upper(), f"{values[0].split('^')[0]}^*", "山田*", "*たろう", "o%neil_*"]
        keys += ["MULLER*", "muller^anne"]
    return keys


# Rows, so that there are a few pages of each.
PAGES = {"PATIENT": 4, "STUDY": 7, "SERIES": 16, "IMAGE": 32}


@pytest.mark.parametrize("level", oracle.LEVELS)
def test_each_key_in_each_way_finds_what_is_there(held, level, monkeypatch):
    page = PAGES[level]
    monkeypatch.setattr(finding, "PAGE_ROWS", page)
    found = [
        compared(held, level, {**above(level), name: key})
        for name in oracle.matchable(level)
        for key in (ways(name) if OF_LEVEL[name] == level else ways(name)[:2])
        if key or name not in above(level)
    ]
    assert 0 in found
    assert max(found) > page


@st.composite
def questions(draw):
    level = draw(st.sampled_from(oracle.LEVELS))
    options = Options(relational=draw(st.booleans()), combined_date_time=draw(st.booleans()))
    names = oracle.matchable(level, relational=options.relational)
    keys = {
        name: draw(st.sampled_from(ways(name)))
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    }
    return level, keys if options.relational else {**keys, **above(level)}, options


def test_keys_together_find_what_is_there(held, monkeypatch):
    monkeypatch.setattr(finding, "PAGE_ROWS", 7)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(questions())
    def check(question):
        compared(held, *question)

    check()
