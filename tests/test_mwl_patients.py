"""When two records speak of the same patient."""

import pytest

from mwl.patients import Identifier, is_someone_else, name_key


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
    [("Doe^Jane", "Doe^John"), ("Doe^^Jane", "Doe^Jane"), ("Yamada=山田", "Yamada=山本")],
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
