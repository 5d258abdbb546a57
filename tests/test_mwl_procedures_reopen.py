"""What was cancelled and scanned all the same, when a person reopens it: on both databases."""

import pytest

from mwl import closing, procedures
from mwl.config import Close
from mwl.outbox import Destination, Destinations
from mwl.performed import PerformedState
from mwl.worklist import manual
from tests.test_mwl_procedures import LATER, WRONG, Site, request
from tests.worklist_rows import item

TOLD = Destinations((Destination("ris"),))
WHICH = manual.Which("ACC1")


@pytest.fixture
def site(database):
    site = Site(database)
    site.orders(item(1, order={"status": "CANCELED"}, step={"state": "CANCELED"}))
    return site


def reopen(site, images="here"):
    effects = closing.effects(Close(images=images), TOLD)
    return site.database.write(
        lambda s: procedures.reopen(s, WHICH, effects=effects, now=LATER)
    ).flags


def now(site):
    return site.states(), site.order()["status"], site.news()


def test_scanned_to_its_end_it_is_completed_and_never_waits_again(site):
    site.start()
    site.complete()
    assert now(site) == (["CANCELED"], "CANCELED", [])
    assert reopen(site) == ["it was scanned: COMPLETED"]
    assert now(site) == (["COMPLETED"], "COMPLETED", ["IP", "CM"])
    site.database.write(lambda s: closing.close(s, site.order()["id"], LATER, TOLD))


def test_where_images_are_elsewhere_it_closes_at_once(site):
    site.start()
    site.complete()
    reopen(site, images="elsewhere")
    assert site.order()["status"] == "CLOSED"


def test_still_being_scanned_it_has_begun_and_goes_on_from_there(site):
    site.start()
    assert reopen(site) == ["it was scanned: STARTED"]
    assert now(site) == (["STARTED"], "IN_PROGRESS", ["IP"])
    site.complete()
    assert now(site) == (["COMPLETED"], "COMPLETED", ["IP", "CM"])


def test_several_mpps_are_judged_together(site):
    site.start(uid="1.1")
    site.set(PerformedState.DISCONTINUED, uid="1.1")
    site.start(uid="1.2")
    site.complete("1.2")
    reopen(site)
    assert now(site) == (["COMPLETED"], "COMPLETED", ["IP", "CM"])


@pytest.mark.parametrize(
    ("reason", "after"),
    [
        (None, (["DISCONTINUED"], "DISCONTINUED", ["IP", "DC"])),
        # Somebody else was scanned: the patient has still to come.
        (WRONG, (["SCHEDULED"], "SCHEDULED", [])),
    ],
)
def test_given_up_it_is_what_the_scanner_said_of_it(site, reason, after):
    site.start()
    site.discontinue(reason)
    reopen(site)
    assert now(site) == after


def test_never_scanned_it_is_on_the_worklist_again(site):
    assert reopen(site) == []
    assert now(site) == (["SCHEDULED"], "SCHEDULED", [])


def test_what_was_completed_may_be_scheduled_once_more(site):
    site.start(request())
    site.complete()
    reopen(site)
    assert reopen(site) == []
    assert site.states() == ["SCHEDULED"]
