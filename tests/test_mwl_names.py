"""Names that are the same to a person's ear, and others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mwl.errors import Rejected
from mwl.matching import UNIVERSAL, Fuzzy, Name, fuzzy_name, name
from mwl.names import sound_of, words_key, words_of
from tests import name_oracle


def finds(key: str, value: str) -> bool:
    return fuzzy_name(key, "PatientName").matches(value)


SAME = [
    # accents and umlauts, and how they are written without
    ("Muller^Anna", "Müller^Anna"),
    ("Mueller", "Müller^Anna"),
    ("Müller", "MUELLER^ANNA"),
    ("Goethe", "Göthe^Johann"),
    ("Strasse", "Straße^Emil"),
    ("Nguyen", "Nguyễn^Thị"),
    ("Walesa", "Wałęsa^Lech"),
    ("Oersted", "Ørsted^Hans"),
    # case, order, components, titles
    ("anna muller", "Müller^Anna"),
    ("Anna^Muller", "Müller^Anna"),
    ("anna^maria", "Müller^Anna^Maria^Dr."),
    ("Lüdenscheidt", "Müller-Lüdenscheidt^Paul"),
    ("ONeil", "O'Neil^Sean"),
    ("O’Neil", "ONeil^Sean"),
    # the beginnings of words
    ("mül", "Müller^Anna"),
    ("mul*^an*", "Müller^Anna"),
    ("MUE", "Müller^Anna"),
    # what sounds alike
    ("Maier", "Meyer^Karl"),
    ("Mayr", "Meier^Karl"),
    ("Schmidt", "Schmitt^Karl"),
    ("Smith", "Schmidt^Karl"),
    ("Mohammed", "Muhamad^Ali"),
    ("Philip", "Filipp^Jan"),
    ("Christian", "Kristian^Jan"),
    ("Jurij", "Yuri^Gagarin"),
    ("Sarah", "Sara^Ann"),
    ("Marie", "Maria^Ann"),
    # other scripts
    ("Ivanov", "Иванов^Иван"),
    ("Iwanow", "Иванов^Иван"),
    ("Tschaikowski", "Чайковский^Пётр"),
    ("Иванов", "Ivanoff^Ivan"),
    ("محمد", "Mohammed^Ali"),
    ("Kim", "김^철수"),
    ("山田", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("Tarou Yamada", "=山田^太郎=やまだ^たろう"),
    ("Yamada^Tarou=山田^太郎", "Yamada^Tarou"),  # either group will do
    ("Nobody\\Muller", "Müller^Anna"),
    ("*", ""),
    ("", "Müller^Anna"),
]
OTHERS = [
    ("Muller^Berta", "Müller^Anna"),
    ("Anna Muller Maria", "Müller^Anna"),
    ("ller", "Müller^Anna"),
    ("Li", "Lou^Anna"),
    ("Maria", "Meyer^Karl"),
    ("Petra", "Peter^Karl"),
    ("Ma*", "Meyer^Karl"),  # whoever writes an asterisk knows how it begins
    ("Hansen", "Jensen^Karl"),
    ("Ivanov", "Petrov^Ivan"),
    ("Müller", ""),
    ("?", ""),
]


@pytest.mark.parametrize(("key", "value"), SAME)
def test_names_that_are_alike_are_found(key: str, value: str) -> None:
    assert finds(key, value)


@pytest.mark.parametrize(("key", "value"), OTHERS)
def test_other_names_are_not(key: str, value: str) -> None:
    assert not finds(key, value)


@pytest.mark.parametrize("key", ["M?ller", "*ller", "M*r^Anna", "D?e^*", "---", "\\M?yer"])
def test_wildcards_inside_words_and_what_has_no_letters_are_meant_as_written(key: str) -> None:
    assert fuzzy_name(key, "PatientName") == name(key, "PatientName")
    assert not isinstance(fuzzy_name(key, "PatientName"), Fuzzy)


def test_literal_wildcards_still_match() -> None:
    assert isinstance(fuzzy_name("D?e^*", "PatientName"), Name)
    assert finds("D?e^*", "Doe^Jane")
    assert not finds("D?e^*", "Jane^Doe")


@pytest.mark.parametrize("key", ["", "*", "**", "^", "*^*", "=", " "])
def test_a_key_that_asks_for_nothing_matches_everything(key: str) -> None:
    assert fuzzy_name(key, "PatientName") is UNIVERSAL


def test_keys_have_bounds() -> None:
    with pytest.raises(Rejected):
        fuzzy_name("\\".join("a" * 17), "PatientName")
    with pytest.raises(Rejected):
        fuzzy_name("a" * 257, "PatientName")
    assert len(words_of("a b " * 64)) == 24
    assert len(words_key("ab" * 10_000)) < 100
    assert len(words_key(" ".join(f"wort{n}" * 9 for n in range(999)))) < 24 * 2 * 34


ALPHABET = "aeiouyAEbcdfghjklmnpqrstvwxzSCHTZÄöüßéł '-.^=*ИванЮщ山田やかمح김1"
texts = st.text(alphabet=ALPHABET, max_size=24)
SOME = sorted({each for pair in SAME + OTHERS for each in pair})


@given(st.one_of(texts, st.sampled_from(SOME)), st.one_of(texts, st.sampled_from(SOME)))
def test_the_oracle_agrees(key: str, value: str) -> None:
    matcher = fuzzy_name(key, "PatientName")
    if isinstance(matcher, Fuzzy):
        assert matcher.matches(value) == name_oracle.is_match(key, value)


@given(texts)
def test_the_oracle_hears_the_same(value: str) -> None:
    for word in words_of(value):
        assert sound_of(word) == name_oracle._sound(word).replace("+", "a").lower()


@given(texts)
def test_a_name_is_found_by_itself_and_by_the_beginning_of_each_word(value: str) -> None:
    plain = value.replace("*", "")
    for word in plain.replace("^", " ").replace("=", " ").split():
        for end in range(1, len(word) + 1):
            assert finds(word[:end], plain) or not words_of(word[:end])


@given(st.text(max_size=60))
def test_whatever_is_sent_has_a_meaning(value: str) -> None:
    try:
        matcher = fuzzy_name(value, "PatientName")
    except Rejected:
        return
    assert isinstance(matcher.matches(value), bool)
    assert words_key(value).isascii()
