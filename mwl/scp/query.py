"""Query as SCP (PS3.4 annex C.4.1): Patient Root, Study Root, and the retired Patient/Study Only.

finding.py says how a C-FIND ends; levels.py what an identifier asks for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timezone
from functools import partial
from zoneinfo import ZoneInfo

from mwl import dataset
from mwl.archive.query import Level, Query, pages
from mwl.charsets import Script
from mwl.config.devices import DeviceCharacters
from mwl.dataset import DataSet, Element
from mwl.db import Database
from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message
from mwl.net.options import Options
from mwl.scp import levels, zones
from mwl.scp.answers import Asker, Compiled, Plan, any_characters
from mwl.scp.attributes import TIMEZONE_OFFSET, Attribute, Model, vr_of
from mwl.scp.finding import OPERATIONS, TRANSFER_SYNTAXES, Question, Search
from mwl.scp.hierarchy import MODELS, SERIES_START, STUDY_START
from mwl.scp.levels import (
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Identifier,
    Root,
)

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY_FIND = "1.2.840.10008.5.1.4.1.2.3.1"
_ROOTS: Mapping[str, Root] = {
    STUDY_ROOT_FIND: Root.STUDY,
    PATIENT_ROOT_FIND: Root.PATIENT,
    PATIENT_STUDY_ONLY_FIND: Root.PATIENT_STUDY_ONLY,
}
MAX_ANSWERS = 50_000


@dataclass(frozen=True, slots=True)
class QueryService:
    """Query/Retrieve Information Models – FIND.

    `zone` is the site's. After `max_answers` a query ends with A700: nobody meant a list that
    long. `characters` tells what is read by who calls itself so.
    """

    database: Database
    zone: ZoneInfo
    max_answers: int = MAX_ANSWERS
    characters: Callable[[str], DeviceCharacters] = any_characters

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]:
        return tuple(_ROOTS)

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        return TRANSFER_SYNTAXES

    @property
    def operations(self) -> frozenset[CommandField]:
        return OPERATIONS

    @property
    def options(self) -> Options:
        return Options(
            relational=True,
            combined_date_time=True,
            fuzzy=True,
            timezone=True,
            empty_values=True,
            multiple_values=True,
        )

    def handle(self, association: Association, message: Message) -> None:
        """Answer one C-FIND-RQ."""
        _Search(self, association, message).perform()


class _Search(Search):
    name = "query"

    def __init__(self, service: QueryService, association: Association, message: Message) -> None:
        super().__init__(association, message, service.max_answers)
        self._service = service
        self._root = _ROOTS[message.context.abstract_syntax]
        self._level = ""

    def told(self) -> dict[str, str]:
        return {"root": self._root.name, "query_level": self._level}

    def question(self, keys: DataSet) -> Question:
        service, association = self._service, self.association
        characters = service.characters(association.calling_title)
        texts = self.texts(keys, characters.assumed)
        options = self.message.context.options
        asked = levels.identify(keys, self._root, service.zone, options, texts)
        self._level = str(asked.level)
        terms = dataset.character_sets(keys)
        asker = Asker(association.calling_title, self.explicit, terms, service.zone)
        asker = replace(asker, characters=characters)
        plan = Plan(keys, asker, partial(_Answer, asked=asked, ae_title=association.called_title))
        rows = pages(service.database, Query(asked.level, plan.columns, asked.keys))
        return Question(plan, rows, is_whole=not (plan.unsupported or asked.unsupported))


class _Answer(Compiled):
    """A plan for the rows of `mwl.archive.query`."""

    def __init__(
        self, keys: DataSet, asker: Asker, script: Script, *, asked: Identifier, ae_title: str
    ) -> None:
        self._model: Model = MODELS[asked.level]
        # The same in each answer; `ae_title` is where they are retrieved.
        self._fixed = {
            QUERY_RETRIEVE_LEVEL: str(asked.level),
            RETRIEVE_AE_TITLE: ae_title,
            INSTANCE_AVAILABILITY: "ONLINE",
        }
        if asked.offset is not None:
            self._fixed[TIMEZONE_OFFSET] = zones.written(asked.offset)
            self._model = {**self._model, **_shifted(self._model, asked.offset, asker.zone)}
        elif asked.level is not Level.PATIENT:
            site = Attribute("SH", STUDY_START, text=partial(zones.offset_at, site=asker.zone))
            self._model = {**self._model, TIMEZONE_OFFSET: site}
        added = {tag: Element(tag, vr_of(tag)) for tag in self._fixed}
        super().__init__({**keys, **added}, asker, script)

    def _key(self, tag: int, key: Element) -> None:
        attribute = self._model.get(tag)
        if tag in self._fixed:
            value = self._fixed[tag].encode("latin-1")
            self._constant += self._writer.element(tag, vr_of(tag), value)
        elif attribute is not None:
            self.is_known = True
            self._attribute(tag, key, attribute)
        else:
            self._unknown(tag, key)


# (0008,0020), (0008,0030); (0008,0021), (0008,0031).
_STARTS = {0x00080020: STUDY_START, 0x00080021: SERIES_START}
_STARTS |= {tag + 0x10: start for tag, start in _STARTS.items()}


def _shifted(model: Model, offset: timezone, zone: ZoneInfo) -> Model:
    """Tell dates and times as the clock of who asks shows them."""

    def shown(start: str, part: int) -> str:
        return zones.there(start, offset, zone)[part]

    return {
        tag: Attribute(model[tag].vr, start, text=partial(shown, part=int(model[tag].vr == "TM")))
        for tag, start in _STARTS.items()
        if tag in model
    }
