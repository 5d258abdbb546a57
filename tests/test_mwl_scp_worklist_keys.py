"""What a worklist can be asked by, beside the oracle's keys: all of table K.6-1, and odd ones."""

from types import SimpleNamespace

import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from mwl.net import status
from mwl.net.options import NONE
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.worklist import MODALITY_WORKLIST_FIND, WorklistService
from tests.feeding import Feed
from tests.hl7_mapping import BERLIN
from tests.identifiers import asking, element, encoded
from tests.test_hl7_inbound import NOW as SENT
from tests.test_mwl_return_keys import ORDER, answer
from tests.test_mwl_scp_worklist_oracle import Asked
from tests.worklist_rows import NOW, insert_items, item

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
# Values that nobody has, by VR.
NOBODYS = {"DA": "19000101", "TM": "0404", "UI": "1.2.3", "US": 9, "DS": "1", "AS": "001D"}


def asked(database, keys, *, now=NOW):
    """Ask for what a data set says; give how many answers there are, and all statuses."""
    explicit = isinstance(keys, Dataset)
    syntax = EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
    data = encoded(keys, explicit=True) if explicit else keys
    context = SimpleNamespace(
        abstract_syntax=MODALITY_WORKLIST_FIND, transfer_syntax=syntax, options=NONE
    )
    message = SimpleNamespace(context=context, command=SimpleNamespace(message_id=1), data_set=data)
    association = Asked()
    WorklistService(database, BERLIN, clock=lambda: now).handle(association, message)
    return len(association.answers), association.statuses


def leaves(level, above=()):
    """Give what has a value, each by the keywords of its sequences and its own."""
    for each in level:
        path = (*above, each.keyword)
        if each.VR == "SQ":
            for inner in each.value[:1]:
                yield from leaves(inner, path)
        elif not each.is_empty and each.keyword != "SpecificCharacterSet":
            yield path, each.value if each.VM == 1 else each.value[0]


def only(path, value):
    """Make an identifier that asks by one attribute."""
    *sequences, keyword = path
    keys = level = Dataset()
    keys.SpecificCharacterSet = "ISO_IR 192"
    for name in sequences:
        inner = Dataset()
        setattr(level, name, [inner])
        level = inner
    setattr(level, keyword, value)
    return keys


def test_an_order_is_found_by_each_attribute_that_it_is_told_with(sqlite_database):
    feed = Feed(sqlite_database, now=SENT)
    feed.send(ORDER)
    told = dict(leaves(answer(sqlite_database)))
    assert len(told) > 60
    shared = 0
    for path, value in told.items():
        once = [status.PENDING, status.SUCCESS]
        assert asked(sqlite_database, only(path, value), now=SENT) == (1, once), path
        another = NOBODYS.get(dictionary_VR(path[-1]), "NOBODY")
        if path[-1] == "ScheduledStationAETitle":
            shared += 1  # it is on any
            continue
        assert asked(sqlite_database, only(path, another), now=SENT) == (0, [status.SUCCESS]), path
    assert shared == 1


@pytest.fixture
def kept(sqlite_database):
    """Keep two items: of one, something is known that the model doesn't have."""
    more = {
        "SeriesDescription": "axial",
        "0029,xx10 ACME 1.0": "blue",
        "ScheduledProcedureStepSequence.DeviceSerialNumber": "S7",
    }
    sqlite_database.write(
        lambda session: insert_items(session, [item(1, step={"attributes": more}), item(2)])
    )
    return sqlite_database


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"SeriesDescription": "axial"}, 2),
        ({"SeriesDescription": "ax*"}, 2),
        ({"SeriesDescription": "coronal"}, 1),
        ({"step_DeviceSerialNumber": "S8"}, 1),
        ({"step_DeviceSerialNumber": "S7"}, 2),
        ({"PatientBirthTime": "noon"}, None),
        ({"AcquisitionDate": "noon"}, 2),
    ],
)
def test_what_the_model_lacks_excludes_what_is_known_to_be_otherwise(kept, values, count):
    found, statuses = asked(kept, asking("PatientID", **values))
    if count is None:
        assert statuses == [status.UNABLE_TO_PROCESS]
    else:
        assert found == count
        assert set(statuses[:-1]) == {status.PENDING_UNSUPPORTED_KEYS}


@pytest.mark.parametrize(("value", "count"), [("blue", 2), ("red", 1)])
def test_so_does_what_a_private_creator_has(kept, value, count):
    keys = asking("PatientID")
    keys.private_block(0x0029, "ACME 1.0", create=True).add_new(0x10, "LO", value)
    found, statuses = asked(kept, keys)
    assert (found, statuses[0]) == (count, status.PENDING_UNSUPPORTED_KEYS)


CODE = 0x00321064
ITEM = 0xFFFEE000


@pytest.mark.parametrize(
    ("inside", "count"),
    [
        (b"", 2),  # no item
        (element(ITEM, b""), 2),
        (element(ITEM, element(0x00080100, b"")), 2),
        (element(ITEM, element(0x00080100, b"CTHEAD")), 2),
        (element(ITEM, element(0x00080100, b"CTHEAD") + element(0x00080102, b"SCT ")), 0),
        (element(ITEM, element(0x00080100, b"MR")), 0),
    ],
)
def test_an_item_of_a_sequence_has_all_that_is_asked_for_in_the_key_s(kept, inside, count):
    found, statuses = asked(kept, element(CODE, inside))
    assert (found, statuses[-1]) == (count, status.SUCCESS)


@pytest.mark.parametrize(
    "keys",
    [
        element(0x001021C0, b"\x03\x00\x04\x00"),  # two values of US
        element(0x00402400, b"x" * 10_242),  # longer than an LT
        element(0x00402400, b"*x" * 200),
        element(0x00100040, b"F\\" * 300),
        element(0x00400100, element(ITEM, element(0x00400004, b"tomorrow"))),
    ],
)
def test_a_key_that_cannot_be_read_is_refused_and_not_taken_for_another(kept, keys):
    assert asked(kept, keys) == (0, [status.UNABLE_TO_PROCESS])


@pytest.mark.parametrize(
    ("tag", "value", "count"),
    [
        (0x00402400, b"a\\b ", 1),  # a backslash is text there
        (0x00402400, b"a* ", 1),
        (0x00402400, b"b ", 0),
        (0x00101030, b"070.0 ", 1),
        (0x00101030, b"70\\71 ", 1),
        (0x00101030, b"7E1 ", 1),
        (0x00101030, b"heavy ", 0),
        (0x001021C0, b"\x03\x00", 1),
        (0x001021C0, b"\x04\x00", 0),
        (0x00102000, b"MRSA", 1),
        (0x00102000, b"*aker ", 1),
        (0x00102000, b"Pace*RSA", 0),  # not over the boundary of two
        (0x00100010, b"Muller^Anne ", 1),
        (0x00100010, b"MULLER* ", 1),
        (0x00080090, b"orsted", 1),
    ],
)
def test_a_value_means_what_its_representation_says(sqlite_database, tag, value, count):
    one = item(
        1,
        patient={"patient_name": "Müller^Änne", "medical_alerts": "Pacemaker\\MRSA"},
        order={
            "comments": "a\\b",
            "patient_weight": "70.0",
            "pregnancy_status": "3",
            "referring_physician": "Ørsted",
        },
    )
    sqlite_database.write(lambda session: insert_items(session, [one]))
    assert asked(sqlite_database, element(tag, value))[0] == count
