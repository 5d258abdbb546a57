"""Texts in the letters that a scanner has, and the sets that answers are written in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mwl.charsets import Choosing, Rewriting, Script, script
from mwl.charsets.latin import readable, readable_name
from tests.test_mwl_charsets_writing import TERMS, writing

LATIN_1, ASCII, KATAKANA = (writing(term) for term in ("ISO_IR 100", "", "ISO_IR 13"))


@pytest.mark.parametrize(
    ("name", "set_", "letters"),
    [
        ("Müller^Änne", LATIN_1, "Müller^Änne"),
        # As passports write them, in the case of their neighbours.
        ("Müller^Änne", ASCII, "Mueller^Aenne"),
        ("MÜLLER^ÄNNE^Ö", ASCII, "MUELLER^AENNE^Oe"),
        ("Strauß^Þóra^Åse", ASCII, "Strauss^Thora^Aase"),
        ("Žofie^Šťastná", LATIN_1, "Zofie^Stastná"),
        ("Nguyễn^Văn An", LATIN_1, "Nguyen^Van An"),
        ("ЩУКА^Щука", LATIN_1, "SHCHUKA^Shchuka"),
        ("قباني^نزار", LATIN_1, "Qbany^Nzar"),
        ("שרון^דבורה", LATIN_1, "Srvn^Dvvrh"),
        ("कुमार^राज", LATIN_1, "Kumar^Raj"),
        # A name that has an alphabetic group loses the others, but for those that can be said.
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", LATIN_1, "Yamada^Tarou"),
        ("Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", KATAKANA, "Yamada^Tarou==ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (
            "Takahashi^K=髙橋^健=たかはし^けん",
            writing(r"\ISO 2022 IR 87"),
            "Takahashi^K==たかはし^けん",
        ),
        # One that has none is read by its sound, where that is told, else as ideographs are.
        ("=山田^太郎=やまだ^たろう", LATIN_1, "Yamada^Tarou"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", LATIN_1, "Yamada^Tarou"),
        ("スズキ ハナコ", LATIN_1, "Suzuki Hanako"),
        ("王^小东", LATIN_1, "Wang^XiaoDong"),
        ("홍^길동", LATIN_1, "Hong^GilDong"),
        # What has no letters is seen to be missing; nothing parts a name that did not.
        ("Doe^\ue000", LATIN_1, "Doe^_"),
        ("Doe？^J＾ane＝x＼", LATIN_1, "Doe_^J_ane_x_"),
    ],
)
def test_a_name_is_told_in_letters_that_the_set_has(name: str, set_: Script, letters: str) -> None:
    assert readable_name(name, set_) == letters
    assert set_.says(letters)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("≤ 5 µm½", "<= 5 µm½"),
        ("ＣＴ “Schädel” – nativ", 'CT "Schädel" - nativ'),
        ("胸部 CT", "XiongBu CT"),
        ("КТ головы", "KT golovy"),
        ("Really?", "Really?"),
    ],
)
def test_other_texts_are_told_likewise(text: str, letters: str) -> None:
    assert readable(text, LATIN_1) == letters


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=12), st.sampled_from(TERMS), st.sampled_from(["PN", "LO"]))
def test_whatever_it_is_the_set_says_it_and_nobody_asked(text: str, term: str, vr: str) -> None:
    rewriting = Rewriting(writing(term))
    letters = rewriting.readable(text, vr)
    assert rewriting.says(letters)
    assert letters.count("?") <= text.count("?")
    assert letters.count("\\") <= text.count("\\")
    if rewriting.says(text):
        assert letters == text


@pytest.mark.parametrize(
    ("texts", "requested", "term"),
    [
        (["Müller", "CT"], [], "ISO_IR 100"),
        (["Müller"], ["ISO_IR 100"], "ISO_IR 100"),
        (["Müller"], ["ISO_IR 192"], "ISO_IR 192"),
        (["Müller", "Žofie"], ["ISO_IR 100"], "ISO_IR 192"),
        (["Žofie"], ["ISO_IR 101"], "ISO_IR 101"),
        (["€"], [], "ISO_IR 192"),
        (["€"], ["ISO_IR 203"], "ISO_IR 203"),
    ],
)
def test_the_set_of_a_query_is_the_first_choice(
    texts: list[str], requested: list[str], term: str
) -> None:
    assert next(Choosing((), requested).that_say(texts)).term == term


def test_sets_that_are_unknown_are_none() -> None:
    choosing = Choosing(["Not Supplied"], ["ISO_IR 144"])
    assert [each.term for each in choosing.that_say(["Doe"])] == [
        "ISO_IR 144",
        "ISO_IR 100",
        "ISO_IR 192",
    ]
    assert not choosing.transliterates
    assert choosing.in_ascii == "ISO_IR 144"
    assert script("Not Supplied") is None
