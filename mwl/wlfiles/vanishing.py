"""What is on another server's list no more: when that is believed, and what is done then.

A server that has lost its folder, or was started anew with an empty database, answers with an
empty list and calls that a success. So nothing is cancelled by one list alone: what was never
begun must be missing from two whole ones in a row, some time apart. And a list that lost very
much cancels nothing at all, until it has it again or a person says that it is right. What another
worklist still has stays.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from sqlmodel import Session

from mwl import audit, procedures
from mwl.audit import Action, Actor
from mwl.config import WorklistSource
from mwl.db import Database
from mwl.errors import Rejected
from mwl.procedures import Effects
from mwl.worklist import manual, sources
from mwl.worklist.sources import Listed, Step

_Act = Callable[[Session, manual.Which], manual.Done]
_Known = Mapping[str, Listed]
_LATELY: Final = timedelta(days=1)  # who was not asked since may be no source any more


@dataclass(slots=True)
class Vanished:
    """What came of what is missing, and what is to be remembered of it; None: nothing more.

    cancelled: was missing before. missing: is kept, until it is missing again. losses: are kept,
    since so much is missing that the list may be wrong.
    """

    remembered: dict[str, Listed | None]
    cancelled: int = 0
    missing: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Vanishing:
    """Cancels and brings back what a source gave of some days, `span`, a pair of DA."""

    database: Database
    source: WorklistSource
    effects: Effects
    span: tuple[str, str]
    now: datetime

    def gone(self, session: Session, known: _Known) -> dict[str, int]:
        """Give the steps that were cancelled because they had vanished, by their items."""
        vanished = {key for key, listed in known.items() if listed.vanished}
        if not vanished:
            return {}
        steps = sources.steps(session, self.source.name, self.span, "")
        keys = {_key_of(step): step.id for step in steps}
        return {key: step for key, step in keys.items() if key in vanished}

    def bring_back(self, key: str, step: int) -> bool:
        """Put a step on the worklist again; False: somebody else has done something to it."""
        act = partial(procedures.reopen, effects=self.effects, now=self.now)
        return self._acted(step, Action.REOPEN, act, key, Listed(""))

    def settle(self, known: _Known, seen: set[str], *, accepted: bool) -> Vanished:
        """Do what follows from what a whole list has no more; `accepted`: a person says it may."""
        missing = sorted(known.keys() - seen)
        if not missing:
            return Vanished({})
        with self.database.read() as session:
            listed = sources.steps(session, self.source.name, self.span, self.source.modality)
            steps = {_key_of(each): each for each in listed}
            others = sources.of_others(session, self.source.name, self.now - _LATELY)
        # Its day is not asked for any more, or it is the RIS's.
        found = Vanished({key: None for key in missing if key not in steps})
        at_stake = {key for key, step in steps.items() if _may_vanish(step, known.get(key))}
        lost = {key: known[key] for key in missing if key in at_stake and key not in others}
        if self.source.vanished == "keep":
            return found
        if accepted or self._is_likely(len(lost), len(at_stake), is_empty=not seen):
            self._believe(found, lost, steps, accepted=accepted)
        else:
            # Once the list is likely again it may still be filling: what is missing then has to
            # be so twice.
            found.losses = len(lost)
            held = {key: each for key, each in lost.items() if each.missing_since}
            found.remembered |= {key: Listed(each.digest) for key, each in held.items()}
        return found

    def _believe(
        self, found: Vanished, lost: _Known, steps: Mapping[str, Step], *, accepted: bool
    ) -> None:
        for key, listed in lost.items():
            if accepted or self._was_missing(listed):
                found.cancelled += self._cancel(key, steps[key].id, listed)
            elif listed.missing_since is None:
                found.remembered[key] = listed._replace(missing_since=self.now)
        found.missing = len(lost) - found.cancelled

    def _is_likely(self, lost: int, at_stake: int, *, is_empty: bool) -> bool:
        if is_empty and lost > 1:
            return False
        return lost <= self.source.lose_items or lost <= self.source.lose_part * at_stake

    def _was_missing(self, listed: Listed) -> bool:
        since, least = listed.missing_since, timedelta(seconds=self.source.missing_s)
        return since is not None and self.now - since >= least

    def _cancel(self, key: str, step: int, listed: Listed) -> bool:
        act = partial(procedures.cancel, effects=self.effects, now=self.now)
        return self._acted(step, Action.CANCEL, act, key, Listed(listed.digest, vanished=True))

    def _acted(self, step: int, action: Action, act: _Act, key: str, listed: Listed) -> bool:
        """Do something to a step, with its record, and note it; False: it is too late for that."""
        which, name = manual.Which(row=step), self.source.name

        def work(session: Session) -> None:
            order = manual.order_of(session, which)
            done = act(session, which)
            event = audit.Event(action, f"order:{order}", {"step": ", ".join(done.sps_ids)})
            actor = Actor(sources.order_source(name), "job")
            audit.record(session, actor, event, now=self.now)
            # At once: whoever dies now would never bring it back.
            sources.note(session, name, [(key, listed)])

        try:
            self.database.write(work)
        except Rejected:
            return False
        return True


def step_key(study_uid: str, sps_id: str) -> str:
    """Name an item by what identifies its step."""
    return sha256(f"{study_uid}\0{sps_id}".encode()).hexdigest()[:32]


def _key_of(step: Step) -> str:
    return step_key(step.study_instance_uid, step.sps_id)


def _may_vanish(step: Step, listed: Listed | None) -> bool:
    return listed is not None and not listed.vanished and step.is_waiting
