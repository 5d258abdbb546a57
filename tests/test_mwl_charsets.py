from pathlib import Path

import pydicom.charset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mwl.charsets import Flag, decode, specific_character_set
from mwl.errors import Rejected

SAMPLES = Path(__file__).parent / "data" / "hl7"


@pytest.mark.parametrize(
    ("names", "codec", "text"),
    [
        (["ASCII", "KS X 1001"], "euc_kr", "Hong=홍^길동"),
        (["", "8859/2"], "iso8859_2", "Dvořák^Łucja"),
        (["ASCII", "ISO IR87", "GB 18030-2000"], "gb18030", "王^小东"),
    ],
)
def test_a_set_beside_ascii_is_read_without_its_escapes_too(
    names: list[str], codec: str, text: str
) -> None:
    decoded = decode(text.encode(codec), names)
    assert (decoded.text, decoded.encoding) == (text, codec)
    assert decoded.flags == (Flag.MISLABELLED,)
    assert decode("Müller".encode(), names).text == "Müller"
    assert decode("Müller".encode("latin-1"), ["ASCII", "nonsense"]).text == "Müller"


@pytest.mark.parametrize(
    ("name", "codec", "text"),
    [
        ("8859/1", "latin-1", "Müller Ångström"),
        ("8859/2", "iso8859_2", "Růžička Łukasz"),
        ("8859/3", "iso8859_3", "Ġorġ"),
        ("8859/4", "iso8859_4", "Jānis Ķ"),
        ("8859/5", "iso8859_5", "Люкceмбypг"),
        ("8859/6", "iso8859_6", "قباني"),
        ("8859/7", "iso8859_7", "Διονυσιος"),
        ("8859/8", "iso8859_8", "שרון"),
        ("8859/9", "iso8859_9", "Çavuşoğlu"),
        ("8859/15", "iso8859_15", "Šimunek € Žofie œ"),
        ("ISO IR14", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("GB 18030-2000", "gb18030", "王^小东"),
        ("KS X 1001", "euc_kr", "홍^길동"),
        ("BIG-5", "cp950", "王小東"),
        ("UNICODE UTF-8", "utf-8", "王^小东 Ž 😀"),
        ("UNICODE", "utf-8", "Žofie"),
        ("ISO-8859-1", "latin-1", "Müller"),
        ("windows-1250", "cp1250", "Žofie"),
        ("utf-8", "utf-8", "Žofie"),
        ("ISO_IR 100", "latin-1", "Müller"),
    ],
)
def test_names_of_table_0211_and_what_people_write_instead(
    name: str, codec: str, text: str
) -> None:
    decoded = decode(text.encode(codec), [name])
    assert decoded.text == text
    assert decoded.flags == ()
    assert text.encode(decoded.encoding) == text.encode(codec)


def test_japanese_switches_sets_by_escapes() -> None:
    text = "Yamada^Tarou~山田^太郎~やまだ"
    raw = text.encode("iso2022_jp")
    assert b"\x1b$B" in raw
    assert decode(raw, ["ASCII", "ISO IR87"]).text == text
    assert decode(raw, ["", "ISO IR87"]).text == text
    assert decode(raw, ["ISO IR87"]).text == text
    rare = "丂"  # JIS X 0212 only
    assert decode(rare.encode("iso2022_jp_2"), ["", "ISO IR87", "ISO IR159"]).text == rare


def test_a_set_in_g1_survives_a_visit_of_two_byte_characters_in_g0() -> None:
    raw = b"Andr\xe9^\x1b$B;3ED\x1b(B^Ren\xe9"
    decoded = decode(raw, ["8859/1", "ISO IR87"])
    assert decoded.text == "André^山田^René"
    assert decoded.flags == ()


@pytest.mark.parametrize("label", ["8859/1", "8859/9", "8859/15"])
@pytest.mark.parametrize(
    "text", ["Müller", "Søren Ångström", "Grüße – “Zitat”", "≥ 5 mm", "Šimůnek^Tomáš", "Žofie"]
)
def test_utf_8_labelled_as_a_western_set_is_utf_8_and_flagged(text: str, label: str) -> None:
    decoded = decode(text.encode(), [label])
    assert (decoded.text, decoded.encoding) == (text, "utf-8")
    assert decoded.flags == (Flag.MISLABELLED,)


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("8859/1", "cp1252", "Šimunek – “Zitat” €"),
        ("8859/2", "cp1250", "Žofie Šťastná"),
        ("8859/5", "cp1251", "Љубица “Иванова”"),
        ("8859/9", "cp1254", "Çavuşoğlu – €"),
        ("8859/15", "cp1252", "Œuvre ‘x’"),
    ],
)
def test_windows_bytes_labelled_8859_are_windows_and_flagged(
    label: str, codec: str, text: str
) -> None:
    decoded = decode(text.encode(codec), [label])
    assert (decoded.text, decoded.encoding) == (text, codec)
    assert decoded.flags == (Flag.MISLABELLED,)


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("8859/2", "iso8859_2", "RŮŽENA"),
        ("8859/2", "iso8859_2", "PÍŠA"),
        ("8859/5", "iso8859_5", "ТИТО"),
    ],
)
def test_bytes_that_happen_to_be_valid_utf_8_make_a_label_doubtful(
    label: str, codec: str, text: str
) -> None:
    raw = text.encode(codec)
    raw.decode("utf-8")  # valid, and nonsense
    decoded = decode(raw, [label])
    assert decoded.text == text
    assert decoded.flags == (Flag.DOUBTFUL,)


def test_8859_15_is_not_8859_1() -> None:
    raw = b"\xa4\xa6\xa8\xb4\xb8\xbc\xbd\xbe"
    assert decode(raw, ["8859/15"]).text == "€ŠšŽžŒœŸ"
    assert specific_character_set(raw, ["ISO_IR 203"]).text == "€ŠšŽžŒœŸ"
    assert decode(raw, ["8859/1"]).text == "¤¦¨´¸¼½¾"


def test_without_a_declaration_the_senders_default_holds() -> None:
    raw = "Žofie".encode("iso8859_2")
    assert decode(raw, [], "8859/2").text == "Žofie"
    assert decode(raw, [""], "8859/2").flags == ()
    assert decode("Müller".encode("latin-1"), ["8859/1"], "8859/2").text == "Müller"


def test_without_any_hint_it_is_utf_8_else_flagged_latin_1() -> None:
    assert decode("Žofie".encode()) == decode("Žofie".encode(), ["UNICODE UTF-8"])
    guessed = decode("Müller".encode("latin-1"))
    assert (guessed.text, guessed.flags) == ("Müller", (Flag.UNDECLARED,))
    assert decode("„Müller“".encode("cp1252")).text == "„Müller“"


def test_utf_8_that_is_none_is_read_as_it_stands_and_flagged() -> None:
    decoded = decode("Müller".encode("latin-1"), ["UNICODE UTF-8"])
    assert (decoded.text, decoded.flags) == ("Müller", (Flag.MISLABELLED,))
    assert decode("Müller".encode(), ["ASCII"]).text == "Müller"
    assert decode("Müller".encode(), ["ASCII"]).flags == (Flag.MISLABELLED,)


def test_an_unknown_set_is_guessed_and_flagged() -> None:
    assert decode("Müller".encode(), ["CNS 11643-1992"]).text == "Müller"
    assert decode(b"Muller", ["KLINGON"]).flags == (Flag.UNKNOWN_SET,)
    decoded = decode("Müller".encode("latin-1"), ["KLINGON"])
    assert decoded.flags == (Flag.UNKNOWN_SET, Flag.UNDECLARED)


def test_an_escape_to_an_unknown_set_is_kept_and_flagged() -> None:
    decoded = decode(b"a\x1b$+Qxy", ["ASCII", "ISO IR87"])
    assert decoded.text == "a\x1b$+Qxy"
    assert decoded.flags == (Flag.UNKNOWN_SET,)


def test_a_byte_order_mark_is_not_text() -> None:
    assert decode(b"\xef\xbb\xbfMSH|", ["8859/1"]).text == "MSH|"
    assert decode(b"\xef\xbb\xbfMSH|").text == "MSH|"


def test_nul_is_refused() -> None:
    with pytest.raises(Rejected, match="NUL"):
        decode(b"MSH|\0", ["8859/1"])


def test_the_samples_are_utf_8_whatever_they_say() -> None:
    for name in ("ORM_O01-GeneralOrder", "OMG_O19-GeneralClinicalOrder-Eyecare"):
        raw = (SAMPLES / f"{name}.hl7").read_bytes()
        decoded = decode(raw, ["8859/1"])
        assert decoded.encoding == "utf-8"
        assert decoded.flags == (Flag.MISLABELLED,)
        assert decoded.text == raw.decode()


LABELS = ["", "8859/1", "8859/2", "8859/7", "8859/15", "ISO IR14", "ISO IR87", "KS X 1001",
          "GB 18030-2000", "UNICODE UTF-8", "ASCII", "?"]  # fmt: skip


@settings(deadline=None)
@given(
    st.binary().filter(lambda raw: b"\0" not in raw),
    st.lists(st.sampled_from(LABELS), max_size=3),
    st.sampled_from([None, "8859/1", "UNICODE UTF-8"]),
)
def test_no_bytes_raise_and_no_change_goes_unflagged(
    raw: bytes, declared: list[str], default: str | None
) -> None:
    decoded = decode(raw, declared, default)
    if b"\x1b" not in raw and not raw.startswith(b"\xef\xbb\xbf"):
        # Shift JIS has two spellings for some characters; all else comes back to the byte.
        again = decoded.text.encode(decoded.encoding)
        assert again == raw or again.decode(decoded.encoding) == decoded.text
        if not decoded.flags and not any(declared) and default is None:
            assert decoded.text.encode() == raw


# PS3.5 annexes H, I, J and K
JAPANESE = (
    b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    "山田^太郎=やまだ^たろう",
)
KOREAN = (
    b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    "洪^吉洞=홍^길동",
)
CHINESE = "Wang^XiaoDong=王^小东"
DICOM_NAMES = [
    (["", "ISO 2022 IR 87"], b"Yamada^Tarou=" + JAPANESE[0], "Yamada^Tarou=" + JAPANESE[1]),
    (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" + JAPANESE[0].replace(b"\x1b(B", b"\x1b(J"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=" + JAPANESE[1],
    ),
    (["", "ISO 2022 IR 149"], b"Hong^Gildong=" + KOREAN[0], "Hong^Gildong=" + KOREAN[1]),
    (["ISO_IR 192"], CHINESE.encode(), CHINESE),
    (["GB18030"], CHINESE.encode("gb18030"), CHINESE),
    (["GBK"], CHINESE.encode("gbk"), CHINESE),
    (["", "ISO 2022 IR 58"], b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang=张^小东="),
    (["ISO_IR 13"], b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
    (["ISO_IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (["ISO_IR 101"], b"W\xb3osek", "Włosek"),
    (["ISO_IR 144"], b"\xbb\xee\xda", "Люк"),
    (["ISO 2022 IR 100", "ISO 2022 IR 144"], b"J\xe9\x1b-L\xbb\xee\xda", "JéЛюк"),
]


@pytest.mark.parametrize(("terms", "raw", "text"), DICOM_NAMES)
def test_names_of_the_standards_annexes_are_read(terms: list[str], raw: bytes, text: str) -> None:
    decoded = specific_character_set(raw, terms)
    assert decoded.text == text
    assert decoded.flags == ()


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    # pydicom leaves the escapes of IR 58 in the text
    [case for case in DICOM_NAMES if "ISO 2022 IR 58" not in case[0]],
)
def test_pydicom_reads_the_same(terms: list[str], raw: bytes, text: str) -> None:
    codecs = pydicom.charset.convert_encodings(terms)
    assert pydicom.charset.decode_bytes(raw, codecs, set(pydicom.charset.TEXT_VR_DELIMS)) == text


@pytest.mark.parametrize("label", ["ISO-IR 100", "ISO IR 100", "iso_ir_100", "ISO_IR100"])
def test_labels_from_the_field_are_understood(label: str) -> None:
    decoded = specific_character_set(b"J\xe9r\xf4me", [label])
    assert (decoded.text, decoded.flags) == ("Jérôme", ())


def test_a_label_that_is_none_is_flagged() -> None:
    decoded = specific_character_set(b"J\xe9r\xf4me", ["Not Supplied"])
    assert (decoded.text, decoded.flags) == ("Jérôme", (Flag.UNKNOWN_SET, Flag.UNDECLARED))
    assert specific_character_set(b"\x93x\x94", ["ISO_IR 100"]).text == "“x”"
    assert specific_character_set("Žofie".encode(), []).text == "Žofie"


@pytest.mark.parametrize(
    ("terms", "raw", "assumed", "text", "flags"),
    [
        # No label.
        ([], "Růžička".encode("iso8859_2"), "ISO_IR 101", "Růžička", [Flag.ASSUMED]),
        ([""], "Иван".encode("cp1251"), "windows-1251", "Иван", [Flag.ASSUMED]),
        ([], JAPANESE[0], r"\ISO 2022 IR 87", JAPANESE[1], [Flag.ASSUMED]),
        ([], "ﾔﾏﾀﾞ山".encode("shift_jis"), "ISO_IR 13", "ﾔﾏﾀﾞ山", [Flag.ASSUMED]),
        # A wrong one: none that there is, or one that the bytes disprove.
        (
            ["Not Supplied"],
            "Růžička".encode("iso8859_2"),
            "ISO_IR 101",
            "Růžička",
            [Flag.UNKNOWN_SET, Flag.ASSUMED],
        ),
        (
            ["ISO_IR 100"],
            "Љубица “Иванова”".encode("cp1251"),
            "windows-1251",
            "Љубица “Иванова”",
            [Flag.MISLABELLED, Flag.ASSUMED],
        ),
        (["ISO_IR 100"], "“x” €".encode("cp1252"), "", "“x” €", [Flag.MISLABELLED]),
        (["GB18030", "ISO IR 192"], "王".encode(), "", "王", [Flag.MISLABELLED]),
        (["", "ISO 2022 IR 149"], "홍^길동".encode("euc_kr"), "", "홍^길동", [Flag.MISLABELLED]),
        (
            ["ISO_IR 100"],
            "王^小东".encode("gb18030"),
            "GB18030",
            "王^小东",
            [Flag.MISLABELLED, Flag.ASSUMED],
        ),
        # What is right is believed, whatever is assumed; so is UTF-8, which nothing else is like.
        (["ISO-IR 100"], "Müller".encode("latin-1"), "GB18030", "Müller", []),
        (["ISO_IR 144"], "Люк".encode("iso8859_5"), "ISO_IR 100", "Люк", []),
        (["ISO_IR 192"], "Люк".encode(), "ISO_IR 144", "Люк", []),
        ([], "Müller".encode(), "GB18030", "Müller", []),
        (["ISO_IR 100"], "Žofie".encode(), "windows-1250", "Žofie", [Flag.MISLABELLED]),
        (["ISO_IR 101"], "RŮŽENA".encode("iso8859_2"), "GBK", "RŮŽENA", [Flag.DOUBTFUL]),
        (["Not Supplied"], b"Doe^Jane", "GB18030", "Doe^Jane", []),
    ],
)
def test_texts_of_a_device_are_read_by_what_is_assumed_where_its_label_is_none_or_wrong(
    terms: list[str], raw: bytes, assumed: str, text: str, flags: list[Flag]
) -> None:
    found = specific_character_set(raw, terms, assumed)
    assert (found.text, list(found.flags)) == (text, flags)
