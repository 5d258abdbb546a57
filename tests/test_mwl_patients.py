"""When two records speak of the same patient."""

import pytest

from mwl.patients import Identifier, folded, is_someone_else, name_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Doe^Jane", "DOE^JANE"),
        ("Doe^Jane", "Doe^Jane^^^"),
        ("Doe^Jane", "Doe^Jane=="),
        ("Müller^Jörg", "MÜLLER^JÖRG"),
        ("Strauß^A", "STRAUSS^A"),
        ("Mu\N{COMBINING DIAERESIS}ller", "Müller"),
    ],
)
def test_names_that_differ_in_case_or_empty_ends_are_one(one, other):
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller^Änne", "MULLER^ANNE"),
        ("Ørsted^Łucja", "orsted^lucja"),
        ("Đặng^Ánh", "dang^anh"),
        ("Işık", "isik"),
        ("Παπαδόπουλος", "ΠΑΠΑΔΟΠΟΥΛΟΣ"),
        ("Фёдоров", "ФЕДОРОВ"),
    ],
)
def test_names_are_matched_without_accents_and_told_with_them(one, other):
    assert name_key(one) == name_key(other)
    assert folded(one) != folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Doe^Jane", "Doe^John"),
        ("Doe^^Jane", "Doe^Jane"),
        ("Yamada=山田", "Yamada=山本"),
        # What looks like an accent makes another letter.
        ("=カキ", "=ガキ"),
        ("ไม่", "ไม"),
        ("किम", "कम"),
    ],
)
def test_names_that_differ_elsewhere_are_two(one, other):
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(
    ("old", "new", "conflict"),
    [
        (("Doe^Jane", "19800101"), ("Roe^Jane", "19800101"), False),
        (("Doe^Jane", "19800101"), ("Doe^Jane", "19800110"), False),
        (("Doe^Jane", "19800101"), ("Roe^John", "19700101"), True),
        (("Doe^Jane", ""), ("Roe^John", "19700101"), False),
        (("", "19800101"), ("Roe^John", "19700101"), False),
        (("Doe^Jane", "19800101"), ("DOE^JANE", "19700101"), False),
    ],
)
def test_another_name_and_another_birth_date_together_are_somebody_else(old, new, conflict):
    assert is_someone_else(*old, *new) is conflict


def test_an_issuer_is_compared_by_its_namespace_else_its_universal_id():
    assert Identifier("1", "HOSP", "1.2.3", "ISO").issuer_key == "HOSP"
    assert Identifier("1", "", "1.2.3", "ISO").issuer_key == "1.2.3"
    assert Identifier("1").issuer_key == ""
