"""What may replace what in the archive, and which order a study belongs to: tables of rules."""

from dataclasses import replace

import pytest

from mwl.studies import (
    Candidate,
    Decision,
    Evidence,
    Kept,
    Likeness,
    Match,
    MatchedBy,
    ObjectState,
    Outcome,
    Person,
    Version,
    decide,
    is_other_patient,
    match,
)

JANE = Person("P1", "HOSP", "Doe^Jane", "19800229")
SERVED = Version(b"a", "explicit", "CT1", "ct", (512, 512, None))


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({}, False),
        ({"patient_id": " P1 "}, False),
        ({"patient_id": "P2"}, True),
        ({"patient_id": "p1"}, True),
        ({"issuer": ""}, False),
        ({"issuer": "hosp "}, False),
        ({"issuer": "OTHER"}, True),
        ({"patient_id": "", "issuer": "OTHER"}, False),
        ({"patient_id": "", "name": "Roe^Jim"}, False),
        ({"patient_id": "", "name": "Roe^Jim", "birth_date": "19700101"}, True),
        ({"name": "Roe^Jane"}, False),
        ({"birth_date": "19800228"}, False),
        ({"name": "Roe^Jim", "birth_date": "19700101"}, True),
        ({"name": "DOE^JANE^^", "birth_date": "19700101"}, False),
        ({"name": "Roe^Jim", "birth_date": ""}, False),
    ],
)
def test_two_patients_are_the_same_unless_something_says_otherwise(change, other):
    assert is_other_patient(JANE, replace(JANE, **change)) is other
    assert is_other_patient(replace(JANE, **change), JANE) is other


@pytest.mark.parametrize(
    ("change", "outcome", "state"),
    [
        # From the source of what is served: the newest is served.
        ({"sha256": b"b"}, Outcome.REPLACED, ObjectState.SERVED),
        ({"transfer_syntax": "jpeg-ls"}, Outcome.REPLACED, ObjectState.SERVED),
        # From elsewhere: the first stays.
        ({"sha256": b"b", "source": "WS"}, Outcome.QUARANTINED, ObjectState.QUARANTINED),
        # The same picture in another syntax is no conflict.
        (
            {"sha256": b"b", "source": "WS", "transfer_syntax": "jpeg-ls"},
            Outcome.STORED,
            ObjectState.ALTERNATE,
        ),
        (
            {
                "sha256": b"b",
                "source": "WS",
                "transfer_syntax": "jpeg-ls",
                "picture": (None, 512, 1),
            },
            Outcome.STORED,
            ObjectState.ALTERNATE,
        ),
        (
            {
                "sha256": b"b",
                "source": "WS",
                "transfer_syntax": "jpeg-ls",
                "picture": (256, 512, 1),
            },
            Outcome.QUARANTINED,
            ObjectState.QUARANTINED,
        ),
        # Another class is another thing, whoever sends it.
        ({"sha256": b"b", "sop_class_uid": "mr"}, Outcome.QUARANTINED, ObjectState.QUARANTINED),
        # Two that don't say who they are, are not the same.
        ({"sha256": b"b", "source": ""}, Outcome.QUARANTINED, ObjectState.QUARANTINED),
    ],
)
def test_what_a_newcomer_becomes(change, outcome, state):
    decision = decide(replace(SERVED, **change), SERVED)
    assert (decision.outcome, decision.state) == (outcome, state)
    assert bool(decision.reason) is (outcome is Outcome.QUARANTINED)


def test_nobody_in_particular_is_no_source():
    nobody = replace(SERVED, source="")
    assert decide(replace(nobody, sha256=b"b"), nobody).outcome is Outcome.QUARANTINED


@pytest.mark.parametrize("source", ["CT1", "WS"])
@pytest.mark.parametrize("state", [s for s in ObjectState if s is not ObjectState.OLDER])
def test_the_same_bytes_are_nothing_new(state, source):
    new = replace(SERVED, sha256=b"b", source=source)
    assert decide(new, SERVED, [Kept(7, state, new)]) == Decision(Outcome.REPEATED, None)


def test_an_older_version_that_its_source_sends_anew_is_served_again():
    new = replace(SERVED, sha256=b"b")
    older = Kept(7, ObjectState.OLDER, new)
    assert decide(new, SERVED, [older]) == Decision(Outcome.REPEATED, None, serve=7)
    elsewhere = replace(new, source="WS")
    assert decide(elsewhere, SERVED, [older]) == Decision(Outcome.REPEATED, None)


UID = "1.2.3"
BY_REQUEST, BY_ACCESSION, BY_STUDY = MatchedBy.REQUEST, MatchedBy.ACCESSION, MatchedBy.STUDY


def candidate(procedure=1, order=None, patient=Likeness.SAME, **more):
    return Candidate(procedure, order or procedure, patient, **more)


ACC = candidate(accession_number="A1")
STRANGER = candidate(8, patient=Likeness.OTHER, accession_number="A1", study_instance_uid=UID)
PLANNED = candidate(2, patient=Likeness.UNKNOWN, study_instance_uid=UID)
STEP = candidate(
    3, patient=Likeness.UNKNOWN, accession_number="A3", steps=frozenset({("1.9", "S1")})
)
NUMBERED = candidate(4, accession_number="A4", requested_procedure_id="R4")
SIBLING = candidate(5, order=4, accession_number="A4", requested_procedure_id="R5")
CANCELLED = candidate(6, accession_number="A1", over=True)


def asks(**item):
    names = {
        "acc": "AccessionNumber",
        "rp": "RequestedProcedureID",
        "sps": "ScheduledProcedureStepID",
        "uid": "StudyInstanceUID",
    }
    return {names[name]: value for name, value in item.items()}


@pytest.mark.parametrize(
    ("requests", "accession", "candidates", "expected"),
    [
        ([], "", [], None),
        # Accession number and patient, both.
        ([], "A1", [ACC], Match(1, BY_ACCESSION)),
        ([], "", [candidate(accession_number="")], None),
        ([], "A1", [replace(ACC, patient=Likeness.UNKNOWN)], None),
        ([], "A1", [STRANGER], None),
        ([], "A1", [STRANGER, ACC], Match(1, BY_ACCESSION)),
        # The Study Instance UID, the last resort; never for somebody else.
        ([], "A9", [PLANNED], Match(2, BY_STUDY)),
        ([], "", [replace(PLANNED, patient=Likeness.OTHER)], None),
        ([], "A1", [PLANNED, ACC], Match(1, BY_ACCESSION)),
        # Request Attributes go before both.
        ([asks(acc="A3")], "A1", [ACC, STEP, PLANNED], Match(3, BY_REQUEST)),
        ([asks(sps="S1", uid="1.9")], "A1", [ACC, STEP], Match(3, BY_REQUEST)),
        ([asks(sps="S1", uid="1.8")], "A1", [ACC, STEP], Match(1, BY_ACCESSION)),
        ([asks(rp="R4")], "", [NUMBERED, SIBLING], Match(4, BY_REQUEST)),
        ([asks(acc="A4", rp="R5")], "", [NUMBERED, SIBLING], Match(5, BY_REQUEST)),
        ([asks(rp="R4")], "", [replace(NUMBERED, patient=Likeness.UNKNOWN)], None),
        ([asks(acc="XX")], "A1", [ACC], Match(1, BY_ACCESSION)),
        # … and if they name another patient's order, a person has to look.
        ([asks(acc="A1")], "", [STRANGER, PLANNED], None),
        # Two orders: no telling, unless only one of them fits.
        ([], "A1", [ACC, replace(ACC, procedure=9, order=9)], None),
        ([asks(acc="A1"), asks(acc="A3")], "", [ACC, STEP], Match(1, BY_REQUEST)),
        ([asks(acc="A1"), asks(acc="A4")], "", [ACC, NUMBERED], None),
        ([], "A1", [ACC, CANCELLED], Match(1, BY_ACCESSION)),
        ([], "A1", [CANCELLED], Match(6, BY_ACCESSION)),
        (
            [],
            "A1",
            [ACC, replace(ACC, procedure=9, order=9, study_instance_uid=UID)],
            Match(9, BY_ACCESSION),
        ),
        # Procedures of one order: the order is certain, the planned one preferred.
        ([], "A4", [SIBLING, NUMBERED], Match(4, BY_ACCESSION)),
        ([], "A4", [NUMBERED, replace(SIBLING, study_instance_uid=UID)], Match(5, BY_ACCESSION)),
    ],
)
def test_which_procedure_a_study_was_made_for(requests, accession, candidates, expected):
    evidence = Evidence(UID, accession, requests=tuple(requests))
    assert match(evidence, candidates) == expected
    assert match(evidence, candidates[::-1]) == expected
