"""Profiles in files: one lies on another, a site's own go first, an error names its line."""

import re
from pathlib import Path

import pytest

from hl7 import profile_files
from mwl.config import shipped
from mwl.errors import ConfigError
from mwl.orders import Action
from mwl.toml_lines import lines

SHIPPED = shipped("hl7/default.toml").parent


@pytest.fixture
def write(tmp_path):
    def writing(name: str, text: str) -> Path:
        file = tmp_path / f"{name}.toml"
        file.write_text(text, "utf-8")
        return file

    return writing


def load(name: str, folder: Path):
    return profile_files.load(name, [folder, SHIPPED])


def test_a_dialect_says_only_what_is_different(write, tmp_path):
    write("ris", 'extends = "default"\n[step]\nmodality = ["ZXX-1"]\n[control]\nNA = "cancel"\n')
    default, found = load("default", tmp_path), load("ris", tmp_path)
    assert [str(link) for link in found.step.modality] == ["ZXX-1"]
    assert found.step.start == default.step.start
    assert found.control["NA"] == {"*": Action.CANCEL}
    assert found.control["NW"] == default.control["NW"]


def test_rules_of_its_own_are_asked_before_those_that_it_extends(write, tmp_path):
    write("base", 'extends = "default"\n[[rule]]\ncode = "*"\nmodality = "OT"\n')
    write("ris", 'extends = "base"\n[[rule]]\ncode = "CT*"\nmodality = "CT"\n')
    found = load("ris", tmp_path)
    assert [rule.modality for rule in found.rules] == ["CT", "OT"]


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.toml")))
def test_commented_examples_of_a_shipped_profile_can_be_used_as_they_stand(write, tmp_path, name):
    text = (SHIPPED / f"{name}.toml").read_text("utf-8")
    used = re.sub(r'(?m)^# (?=\[\[?[a-z.]+\]+$|[\w"., ]+ = ["{\[])', "", text)
    write("used", used)
    found = load("used", tmp_path)
    if name == "default":
        assert used != text
        assert [*found.started] == ["CA"]
        assert (len(found.rules), len(found.events_by_condition)) == (1, 1)
        assert len(found.attributes.targets()) == 8


def test_an_event_or_a_code_that_is_inherited_is_taken_away(write, tmp_path):
    write(
        "base",
        'extends = "default"\n[events]\n"ADT^A08" = ""\n"SIU^S26" = ""\n[control]\nOD = ""\n'
        '[started]\nCA = "canceled"\n[appointment.control]\nS26 = ""\n[report.states]\nW = ""\n',
    )
    write("ris", 'extends = "base"\n[started]\nCA = ""\n[control]\nOD = "note"\n')
    base, ris = load("base", tmp_path), load("ris", tmp_path)
    assert "ADT^A08" not in base.events
    assert "OD" not in base.control
    assert base.appointment is not None
    assert "S26" not in base.appointment.control
    assert base.report is not None
    assert "W" not in base.report.states
    assert [*base.started] == ["CA"]
    assert (ris.started, "ADT^A08" in ris.events, "OD" in ris.control) == ({}, False, True)
    assert ris.values["sex"]["U"] == ""


def test_a_file_of_the_site_hides_the_one_of_its_name_and_may_extend_it(write, tmp_path):
    write("default", 'extends = "default"\n[message]\nprocessing_ids = ["P", "T"]\n')
    assert load("default", tmp_path).message.processing_ids == ("P", "T")
    found = profile_files.available([tmp_path, SHIPPED])
    assert found["default"] == tmp_path / "default.toml"
    assert found["dcm4chee"] == SHIPPED / "dcm4chee.toml"


def test_profiles_that_extend_each_other_are_refused(write, tmp_path):
    write("a", 'extends = "b"\n')
    write("b", '# on it\nextends = "a"\n')
    with pytest.raises(ConfigError, match=r"b\.toml:2: extends: in a circle"):
        load("a", tmp_path)


def test_more_than_eight_on_each_other_are_refused(write, tmp_path):
    for number in range(9):
        write(f"p{number}", f'extends = "p{number + 1}"\n')
    write("p9", 'extends = "default"\n')
    with pytest.raises(ConfigError, match=r"p7\.toml:1: extends: more than 8 profiles"):
        load("p0", tmp_path)


@pytest.mark.parametrize("name", ["../default", "/etc/passwd", "", "a b", "x" * 65])
def test_what_is_no_name_leads_to_no_file(tmp_path, name):
    with pytest.raises(ConfigError, match="is no name of a profile"):
        load(name, tmp_path)


def test_a_profile_that_is_nowhere_is_named_with_where_it_was_looked_for(write, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no nobody\.toml in .*, .*hl7"):
        load("nobody", tmp_path)
    write("ris", 'extends = "nobody"\n')
    with pytest.raises(ConfigError, match=r"ris\.toml:1: extends: there is no profile 'nobody'"):
        load("ris", tmp_path)


HEAD = 'extends = "default"\n\n'
WRONG = [
    ('[step]\nmodality = ["OBR24"]\n', 4, "[step] modality: 'OBR24' names no HL7 field"),
    ('[step]\nmodality = [\n  "OBR-24",\n  "X",\n]\n', 6, "[step] modality: 'X' names"),
    ('[step]\nmodality = [{ frm = "OBR-24" }]\n', 4, "frm: no such key of a place"),
    ('[order]\n# a comment\n\nfoo = ["PID-1"]\n', 6, "[order] foo: no such key or column"),
    ('[control]\nNW = "make"\n', 4, "[control] NW: 'make' is not a valid Action"),
    ('[control]\nNW = { SC = "make", "*" = "note" }\n', 4, "[control] NW: 'make'"),
    ('[[rule]]\ncode = "a"\nmodality = "CT"\n[[rule]]\ncode = "b"\nmodality = "XX"\n', 8, "'XX'"),
    ('[[rule]]\ncode = "a"\nmodality = "CT"\n[[rule]]\ncode = "b"\n', 6, "needs a modality"),
    ("[with_ipc.step]\nsps_id = 4\n", 4, "[with_ipc] step.sps_id: must be a list"),
    ('[values.colour]\nR = "red"\n', 3, "[values.colour] belongs to no column"),
    ('[attributes]\nNoSuchThing = ["ZXX-1"]\n', 4, "is no attribute of the standard"),
    ('[attributes.step]\n"0040,0009" = ["ZXX-1"]\n', 4, "write it as [step] sps_id"),
    ('[attributes]\nPatientName = ["ZXX-1"]\n', 4, "write it as [patient] patient_name"),
    ('[attributes]\nPixelData = ["ZXX-1"]\n', 4, "is no text that a message could state"),
    ('[attributes]\n"0028,xx10 ACME" = ["ZXX-1"]\n', 4, "is of an odd group"),
    ('[started]\nQQ = "note"\n', 4, "is no code of [control]"),
    ('[patient]\nallergies = [{ value = "none" }]\n', 4, "takes places alone"),
    ('[with_ipc.step]\ncomments = [{ value = "none" }]\n', 4, "takes places alone"),
    ('[appointment.order]\n\ncomments = [{ value = "a" }]\n', 5, "takes places alone"),
    ('[report]\nothers = ["OBR-33", { value = "A^B" }]\n', 4, "it reads whole names"),
    ('[report]\ntitle = [{ from = "OBR-4", part = 1 }]\n', 4, "It needs split"),
    ('[events]\n"ADT^A99" = ""\n', 4, "[events] ADT^A99: is not in what this profile extends"),
    ('[control]\nQQ = ""\n', 4, "[control] QQ: is not in what this profile extends"),
    ('[step]\nlocation = [{ from = "PV1-3", when = { X = "A" } }]\n', 4, "'X' names no HL7"),
    ('[step]\nlocation = [{ from = "PV1-3", split = "-", part = 0 }]\n', 4, "part: must be"),
    ('[step]\nlocation = [{ from = "PV1-3.1 PV1-3.2", cut_end = "-" }]\n', 4, "joined can't"),
    ('[step]\nlocation = [{ value = "A\\u0000" }]\n', 4, "printable characters"),
    ('[[event]]\nmessage = "ORM*"\nis = "ignore"\n', 3, "[event] 0.when: is missing"),
    ('[[event]]\nwhen = { "MSH-4" = "A" }\nis = "lose"\n', 5, "[event] 0.is: "),
    ("[step\n", 3, "Expected ']'"),
    ("[step]\nsps_id = [\n", 5, ""),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG, ids=lambda each: str(each)[:40])
def test_an_error_names_file_line_and_key(write, tmp_path, text, line, message):
    file = write("ris", HEAD + text)
    with pytest.raises(ConfigError) as caught:
        load("ris", tmp_path)
    found = str(caught.value)
    assert found.startswith(f"{file}:{line}: ")
    assert message in found
    assert "\n" not in found


def test_what_is_wrong_in_an_extended_profile_is_told_of_that_file(write, tmp_path):
    base = write("base", 'extends = "default"\n[[rule]]\ncode = "a"\nmodality = "XX"\n')
    write("ris", 'extends = "base"\n[[rule]]\ncode = "b"\nmodality = "CT"\n')
    with pytest.raises(ConfigError) as caught:
        load("ris", tmp_path)
    assert str(caught.value).startswith(f"{base}:4: [rule] 1.modality: ")


def test_every_key_of_a_document_has_its_line():
    text = '''# a comment with [brackets] and = signs
a = 1
"b^c" = { x = "}, y = 2", "y.z" = [ "]", { q = 1 } ] }
[t . u]
k = """
w = 1
[no]
"""
l = 'C:\\\\'
v.w = [
  "a", # c ]
  { from = "X" },
]
[[rule]]
code = "x"
[rule.when]
"MSH-4" = "B"
[[rule]]
'''
    found = lines(text.replace("\n", "\r\n"))
    assert found == {
        ("a",): 2,
        ("b^c",): 3,
        ("b^c", "x"): 3,
        ("b^c", "y.z"): 3,
        ("b^c", "y.z", 0): 3,
        ("b^c", "y.z", 1): 3,
        ("b^c", "y.z", 1, "q"): 3,
        ("t",): 4,
        ("t", "u"): 4,
        ("t", "u", "k"): 5,
        ("t", "u", "l"): 9,
        ("t", "u", "v"): 10,
        ("t", "u", "v", "w"): 10,
        ("t", "u", "v", "w", 0): 11,
        ("t", "u", "v", "w", 1): 12,
        ("t", "u", "v", "w", 1, "from"): 12,
        ("rule",): 14,
        ("rule", 0): 14,
        ("rule", 0, "code"): 15,
        ("rule", 0, "when"): 16,
        ("rule", 0, "when", "MSH-4"): 17,
        ("rule", 1): 18,
    }
