"""Names from a RIS to a scanner that reads another character set, byte for byte on the wire."""

import struct
from collections.abc import Mapping
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from mwl import charsets, dataset
from mwl.db import Database
from mwl.db.tables import Device
from mwl.net.pdu import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mwl.scp.attributes import vr_of
from mwl.scp.worklist import WorklistService
from tests.builders import orm
from tests.dicom_client import MODALITY_WORKLIST_FIND
from tests.dicom_server import dial_fixture, serve_fixture  # noqa: F401 - fixtures
from tests.feeding import Feed
from tests.hl7_mapping import NOW
from tests.identifiers import asking, encoded
from tests.test_mwl_charsets_writing import ANNEXES, SINGLE_BYTES
from tests.worklist_rows import insert_items, item

NAME, CHARACTER_SET, PATIENT_ID = 0x00100010, 0x00080005, 0x00100020
DESCRIPTION = 0x00321060
UTF_8, GB18030 = "ISO_IR 192", "GB18030"
JIS, KANA, KOREAN, CHINESE = (ANNEXES[each][0] for each in ("H.3.1", "H.3.2", "I.2", "K.2"))


def ways(*names: str) -> str:
    """Write PID-5: a repetition for each way of writing a name."""
    codes = "AIP"[: len(names)]
    return "~".join(f"{name}^^^^^L^{code}" for name, code in zip(names, codes, strict=True))


def hl7(text: str, term: str) -> bytes:
    """Encode a message in a Specific Character Set: in HL7 its escapes are the same."""
    found = charsets.script(term)
    assert found is not None
    return found.encode(text)


# MSH-18, what its bytes are in DICOM's words, PID-5, and what reaches which scanner.
YAMADA = ways("Yamada^Tarou", "山田^太郎", "やまだ^たろう")
# HL7 v2.5.1 2.7.2: sets switched by HL7's own escapes, where no byte looks like a delimiter.
YAMADA_BY_ESCAPES = ways(
    "Yamada^Tarou", "\\M2442\\;3ED\\C2842\\^\\M2442\\B@O:\\C2842\\", "やまだ^たろう"
)
HALF_WIDTH = ways("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう")
HONG = ways("Hong^Gildong", "洪^吉洞", "홍^길동")
WANG, WANG_IN_CHINA = ways("Wang^XiaoDong", "王^小東"), ways("Wang^XiaoDong", "王^小东")
ZHANG = ways("Zhang^XiaoDong", "张^小东")
ZHANG_IN_DICOM = "Zhang^XiaoDong=张^小东="
FEEDS = [
    ("~ISO IR87", JIS, YAMADA, "H.3.1"),
    ("ISO IR87", JIS, YAMADA, "H.3.1"),
    ("ASCII~ISO IR87~ISO IR159", JIS, YAMADA, "H.3.1"),
    ("~ISO IR87", JIS, YAMADA_BY_ESCAPES, "H.3.1"),
    ("UNICODE UTF-8", UTF_8, YAMADA, "H.3.1"),
    ("ISO IR14~ISO IR87", KANA, HALF_WIDTH, "H.3.2"),
    ("UNICODE UTF-8", UTF_8, HALF_WIDTH, "H.3.2"),
    ("~KS X 1001", KOREAN, HONG, "I.2"),
    ("UNICODE UTF-8", UTF_8, HONG, "I.2"),
    ("UNICODE UTF-8", UTF_8, WANG, "J.1"),
    ("GB 18030-2000", GB18030, WANG_IN_CHINA, "J.3"),
    ("UNICODE UTF-8", UTF_8, WANG_IN_CHINA, "J.3"),
    ("~GB 18030-2000", CHINESE, ZHANG, "K.2"),
    ("GB 18030-2000", GB18030, ZHANG, "K.2"),
    ("UNICODE UTF-8", UTF_8, ZHANG, "K.2"),
]
RAW = [  # by codecs that DICOM has no term for
    ("KS X 1001", "euc_kr", HONG, "I.2"),
    ("BIG-5", "cp950", WANG, "J.1"),
]
PARTS = {
    "8859/1": "ISO_IR 100",
    "8859/2": "ISO_IR 101",
    "8859/3": "ISO_IR 109",
    "8859/4": "ISO_IR 110",
    "8859/5": "ISO_IR 144",
    "8859/6": "ISO_IR 127",
    "8859/7": "ISO_IR 126",
    "8859/8": "ISO_IR 138",
    "8859/9": "ISO_IR 148",
    "8859/11": "ISO_IR 166",
    "8859/15": "ISO_IR 203",
    "ISO IR14": "ISO_IR 13",
}


class Hospital:
    """A RIS, and scanners of which it is known what they read."""

    def __init__(self, database: Database, serve: Any, dial: Any) -> None:
        self.database, self._dial = database, dial
        self._feed = Feed(database, now=NOW)
        self._server = serve(
            WorklistService(database, ZoneInfo("Europe/Berlin"), clock=lambda: NOW)
        )
        self._numbers = count(1)

    def scanner(self, title: str, **characters: Any) -> str:
        row = Device(ae_title=title, characters=characters, created_at=NOW, updated_at=NOW)
        self.database.write(lambda session: session.add(row))
        return title

    def order(self, charset: str, name: str, term: str = "", codec: str = "") -> str:
        """Send an order, its bytes those of a term or a codec; give its accession number."""
        number = next(self._numbers)
        message = orm(
            MSH_18=charset,
            PID_3=f"PID{number}^^^ADT1^MR",
            PID_5=name,
            ORC_2=f"PO{number}^RIS",
            ORC_3=f"FO{number}^RIS",
            OBR_2=f"PO{number}^RIS",
            OBR_3=f"FO{number}^RIS",
            OBR_18=f"ACC{number}",
            ZDS_1=f"1.2.3.{number}^^Application^DICOM",
        )
        self._feed.send(message.encode(codec) if codec else hl7(message, term))
        return f"ACC{number}"

    def ask(
        self, title: str, *, explicit: bool = True, charset: Any = None, **keys: str
    ) -> list[dataset.DataSet]:
        """Ask for patient, procedure and step; give the elements of each answer."""
        asked = self.query(explicit=explicit, charset=charset, **keys)
        return self.send(title, asked, explicit=explicit)

    def query(self, *, explicit: bool = True, charset: Any = None, **keys: str) -> bytes:
        wanted = ("PatientName", "PatientID", "RequestedProcedureDescription")
        names = [name for name in wanted if name not in keys]
        asked = asking(*names, charset=charset, **keys)  # type: ignore[no-untyped-call]
        return bytes(encoded(asked, explicit=explicit))  # type: ignore[no-untyped-call]

    def send(self, title: str, asked: bytes, *, explicit: bool = True) -> list[dataset.DataSet]:
        syntax = EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
        client = self._dial(self._server).associate(
            (MODALITY_WORKLIST_FIND,), calling=title, transfer_syntaxes=(syntax,)
        )
        answers = [data for _, data in client.find(asked) if data is not None]
        client.release()
        return [dataset.read(each, explicit=explicit, vr_of=vr_of) for each in answers]


@pytest.fixture
def hospital(sqlite_database: Database, serve: Any, dial: Any) -> Hospital:
    return Hospital(sqlite_database, serve, dial)


def told(answer: Mapping[int, dataset.Element]) -> tuple[bytes, bytes]:
    """Give (0008,0005) and the patient's name as they were sent."""
    term = answer.get(CHARACTER_SET)
    return (term.value if term else b""), answer[NAME].value


def test_names_of_the_annexes_reach_scanners_as_the_annexes_print_them(hospital: Hospital) -> None:
    feeds = [
        *((hospital.order(charset, name, term), key) for charset, term, name, key in FEEDS),
        *((hospital.order(charset, name, codec=codec), key) for charset, codec, name, key in RAW),
    ]
    for number, term in enumerate(dict.fromkeys(ANNEXES[key][0] for _, key in feeds)):
        title = hospital.scanner(f"S{number}", sets=["ISO_IR 6", term])
        for accession, key in feeds:
            expected = (ANNEXES[key][0].encode(), ANNEXES[key][2])
            if key == "K.2" and term in (GB18030, UTF_8):
                expected = (term.encode(), hl7(ZHANG_IN_DICOM, term))
            if expected[0] != term.encode():
                continue
            for explicit in (True, False):
                (answer,) = hospital.ask(title, explicit=explicit, AccessionNumber=accession)
                assert told(answer) == expected, key


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it knows no ISO_IR 203
def test_every_part_of_8859_arrives_and_is_answered_in_the_same_bytes(hospital: Hospital) -> None:
    for charset, term in PARTS.items():
        text, raw = SINGLE_BYTES[term]
        accession = hospital.order(charset, text, term)
        title = hospital.scanner(charset.replace("/", "_"), sets=[term])
        (answer,) = hospital.ask(title, AccessionNumber=accession)
        assert told(answer) == (term.encode(), raw)
        # Nothing is set of this one: it names the set in its query.
        (answer,) = hospital.ask("OTHER", charset=term, AccessionNumber=accession)
        assert told(answer) == (term.encode(), raw)


def test_a_latin_1_scanner_gets_letters_that_it_has(hospital: Hospital) -> None:
    title = hospital.scanner("OLD", sets=["ISO-IR 100"])
    readable = {
        YAMADA: "Yamada^Tarou",
        HALF_WIDTH: "Yamada^Tarou",
        HONG: "Hong^Gildong",
        WANG: "Wang^XiaoDong",
        "山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P": "Yamada^Tarou",
        "Žofie^Růžičková": "Zofie^Ruzicková",
        "Müller^Åse": "Müller^Åse",
        "Иванов^Щука": "Ivanov^Shchuka",
        "Διονυσιος": "Dionysios",
        "قباني^نزار": "Qbany^Nzar",
    }
    for name, letters in readable.items():
        accession = hospital.order("UNICODE UTF-8", name, UTF_8)
        (answer,) = hospital.ask(title, AccessionNumber=accession)
        term, raw = told(answer)
        assert raw.decode("latin-1") == letters
        assert b"?" not in raw
        assert term == b"ISO-IR 100"  # as it spells it


def names(database: Database, *rows: dict[str, Any]) -> None:
    items = (
        item(number, "CT1", patient={"patient_name": row.pop("name"), **row})
        for number, row in enumerate(rows, 1)
    )
    database.write(lambda session: insert_items(session, items))


def test_the_first_set_that_says_the_whole_answer_is_taken(hospital: Hospital) -> None:
    names(
        hospital.database,
        {"name": "Doe^Jane"},
        {"name": "Müller^Änne"},
        {"name": "Люкceмбypг"},
        {"name": "Müller^Люк"},
        {"name": "Hong^Gildong=洪^吉洞=홍^길동"},
    )
    sets = ["ISO_IR 100", "ISO_IR 144", r"ISO 2022 IR 100\ISO 2022 IR 144", "ISO_IR 192"]
    answers = hospital.ask(hospital.scanner("CT1", sets=sets))
    assert [told(each)[0].decode() for each in answers] == ["", *sets]
    # An answer in ASCII, to who asks which set it is in: the best that it reads.
    answers = hospital.ask("CT1", charset="")
    assert told(answers[0])[0] == b"ISO_IR 100"


@pytest.mark.parametrize(
    ("charset", "name", "term"),
    [
        ([r"", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", JIS),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", KANA),
        (["", "ISO 2022 IR 87"], "Müller^Änne", "ISO_IR 100"),
        (["", "ISO 2022 IR 87"], "Hong^Gildong=洪^吉洞=홍^길동", UTF_8),
        ("GBK", "Zhang^XiaoDong=张^小东", "GBK"),
        ("ISO_IR 192", "Müller^Änne", UTF_8),
        ("ISO IR 192", "Müller^Änne", "ISO IR 192"),
        ("Not Supplied", "Müller^Änne", "ISO_IR 100"),
        (None, "Žofie", UTF_8),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_where_nothing_is_set_the_querys_own_set_is_the_first_choice(
    hospital: Hospital, charset: Any, name: str, term: str
) -> None:
    names(hospital.database, {"name": name})
    (answer,) = hospital.ask("OTHER", charset=charset)
    assert told(answer)[0].decode() == term
    found = charsets.specific_character_set(told(answer)[1], term.split("\\"))
    assert (found.text.rstrip("="), found.flags) == (name, ())


@pytest.mark.parametrize("label", [b"NOT LISTED", b"ISO_IR_999"])
def test_a_query_is_read_by_what_is_assumed_of_its_scanner(
    hospital: Hospital, label: bytes
) -> None:
    names(hospital.database, {"name": "Růžička^Ota"}, {"name": "Doe^Jane"})
    title = hospital.scanner("CT1", assumed="ISO_IR 101")
    query = hospital.query(charset="ISO_IR 101", PatientName="RŮŽIČKA*")
    with capture_logs() as logs:
        (answer,) = hospital.send(title, query.replace(b"ISO_IR 101", label))
    assert told(answer) == (b"ISO_IR 192", "Růžička^Ota".encode())
    (line,) = (each for each in logs if each["event"] == "worklist.find")
    assert line["characters"] == ["character set assumed", "character set unknown"]
    assert hospital.send("STRANGER", query.replace(b"ISO_IR 101", label)) == []


def test_what_no_set_says_may_be_in_utf_8_all_the_same(hospital: Hospital) -> None:
    names(hospital.database, {"name": "Müller^Änne"}, {"name": "Žofie^Šťastná"})
    title = hospital.scanner("CT1", sets=["ISO_IR 100"], beyond="utf-8")
    first, second = map(told, hospital.ask(title))
    assert first == (b"ISO_IR 100", "Müller^Änne".encode("latin-1"))
    assert second == (b"ISO_IR 192", "Žofie^Šťastná".encode())


def test_of_an_answer_that_no_set_says_the_name_comes_first(hospital: Hospital) -> None:
    rows = (
        item(1, "CT1", patient={"patient_name": "Yamada^Tarou=山田^太郎=やまだ^たろう"}),
        item(2, "CT1", patient={"patient_name": "Müller^Änne"}),
    )
    for row, description in zip(rows, ("Schädel nativ", "胸部 CT"), strict=True):
        row["requested_procedure"]["description"] = description
    hospital.database.write(lambda session: insert_items(session, rows))
    title = hospital.scanner("CT1", sets=["ISO_IR 100", JIS])
    with capture_logs() as logs:
        japanese, german = hospital.ask(title)
    assert told(japanese) == (JIS.encode(), ANNEXES["H.3.1"][2])
    assert japanese[DESCRIPTION].value == b"Schaedel nativ"
    assert told(german) == (b"ISO_IR 100", "Müller^Änne".encode("latin-1"))
    assert german[DESCRIPTION].value == b"XiongBu CT"
    # A person hears of it, but not of the patient.
    (found,) = (each for each in logs if each["event"] == "worklist.transliterated")
    assert (found["calling"], found["answers"]) == ("CT1", 2)
    assert not any(word in str(logs) for word in ("Yamada", "山田", "Müller", "Schädel", "胸部"))


def test_of_a_name_that_no_set_says_the_most_is_told(hospital: Hospital) -> None:
    """A scanner of kanji loses none for the half-width katakana beside them."""
    names(hospital.database, {"name": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"})
    title = hospital.scanner("CT1", sets=["ISO_IR 6", "ISO_IR 100", JIS])
    (answer,) = hospital.ask(title)
    read = charsets.specific_character_set(told(answer)[1], JIS.split("\\"))
    assert (told(answer)[0], read.text) == (JIS.encode(), "ヤマダ^タロウ=山田^太郎=やまだ^たろう")


def test_what_may_be_ascii_alone_is_left_out_by_itself(hospital: Hospital) -> None:
    row = item(1, "CT1", patient={"patient_name": "Müller^Änne"})
    row["scheduled_step"]["station_ae_titles"] = "RÖ1\\CT1"
    row["patient"]["birth_date"] = "1980\uff1002"
    hospital.database.write(lambda session: insert_items(session, [row]))
    title = hospital.scanner("CT1", sets=["ISO_IR 100"])
    query = hospital.query(step_ScheduledStationAETitle="", PatientBirthDate="")
    (answer,) = hospital.send(title, query)
    assert told(answer) == (b"ISO_IR 100", "Müller^Änne".encode("latin-1"))
    assert answer[0x00100030].value == b""
    (step,) = answer[0x00400100].items
    assert step[0x00400001].value == b"CT1"


def test_a_query_that_names_thousands_of_sets_is_answered(hospital: Hospital) -> None:
    names(hospital.database, {"name": "Müller^Änne"})
    query = hospital.query(charset="ISO_IR 144", PatientName="M*")
    start = query.index(b"ISO_IR 144")
    terms = b"\\".join([b"ISO_IR 144", *[b"x"] * 20_000])
    length = struct.pack("<H", len(terms))
    (answer,) = hospital.send("OTHER", query[: start - 2] + length + terms + query[start + 10 :])
    assert told(answer)[0] == b"ISO_IR 100"


def test_an_identifier_is_never_in_other_letters(hospital: Hospital) -> None:
    names(hospital.database, {"name": "Müller^Änne", "patient_id": "Ж-1"}, {"name": "Žofie"})
    with capture_logs() as logs:
        strange, usual = hospital.ask(hospital.scanner("CT1", sets=["ISO_IR 100"]))
    assert told(strange) == (b"ISO_IR 192", "Müller^Änne".encode())
    assert strange[PATIENT_ID].value == "Ж-1".encode()
    assert told(usual) == (b"ISO_IR 100", b"Zofie")
    assert "worklist.identifiers_in_utf_8" in [each["event"] for each in logs]
    # What the scanner says of it later, in its own belief, is read here as it was.
    read = charsets.specific_character_set(strange[PATIENT_ID].value, ["ISO_IR 100"])
    assert read.text == "Ж-1"
