"""Wire what explains HL7 messages: by the profiles of the settings, or by one that is named."""

from datetime import datetime
from pathlib import Path
from typing import Final

from hl7 import mllp, profile_files
from hl7.explain import Explainer, Explanation, encoded, split
from hl7.intake import Intake
from hl7.profile import Profile
from hl7.profiles import Profiles
from hl7.rehearsal import Rehearsal
from mwl.config import Settings
from mwl.db import Database
from mwl.errors import ConfigError, Fault, Reason, Rejected
from mwl.outbox import Forwards
from mwl.roles.following import effects
from mwl.roles.hl7 import in_original_mode
from mwl.roles.profiles import mapping_profiles, profile_folders

MOST: Final = 20  # messages that are explained at once


def names(settings: Settings) -> list[str]:
    """List the profiles that there are, in use or not."""
    return [*profile_files.available(profile_folders(settings))]


def explainer(
    settings: Settings, database: Database | None, named: str = "", profiles: Profiles | None = None
) -> Explainer:
    """Explain by the profile `named`, a name or a file; "": as messages are taken.

    `database` None: what would change is not told. Raises ConfigError.
    """
    why = ""
    if named:
        loaded = _load(settings, named)
        profiles = Profiles.single(loaded, settings.site.zone_info, Path(named).stem)
        why = "it was asked for"
    profiles = profiles or mapping_profiles(settings)
    intake = Intake(
        profiles,
        told=effects(settings).told,
        forwards=Forwards.of(settings.hl7.forward),
        original_mode=in_original_mode(settings),
    )
    rehearse = Rehearsal(database, intake) if database is not None else None
    return Explainer(profiles, intake, rehearse, why)


class Explainers:
    """One explainer for each profile that is asked for. Threads share it."""

    def __init__(self, settings: Settings, database: Database, profiles: Profiles) -> None:
        self._settings, self._database = settings, database
        self._chosen = explainer(settings, database, profiles=profiles)

    def __call__(
        self, content: bytes | str, at: datetime, profile: str = "", listener: str = ""
    ) -> tuple[list[Explanation], int]:
        """Explain the messages of a file or of a pasted text, at most MOST; tell how many more.

        `profile` is a name; "": as messages are taken. Raises Rejected, Outage.
        """
        try:
            found = split(encoded(content) if isinstance(content, str) else content)
        except mllp.FrameError as error:
            raise Rejected(Fault(Reason.MALFORMED, "", str(error))) from None
        if not found:
            text = "there is no HL7 message in it: one starts with MSH"
            raise Rejected(Fault(Reason.MALFORMED, "", text))
        explain = self._by(profile)
        return [explain(raw, at, listener) for raw in found[:MOST]], max(0, len(found) - MOST)

    def kept(self, raw: bytes, at: datetime, profile: str = "", listener: str = "") -> Explanation:
        """Explain a message of the journal, whatever its bytes are. Raises Rejected, Outage."""
        return self._by(profile)(raw, at, listener)

    def _by(self, named: str) -> Explainer:
        if not named:
            return self._chosen
        if named not in names(self._settings):
            raise Rejected(Fault(Reason.UNKNOWN_CODE, "profile", "there is no such profile"))
        try:
            # Read for each: it may be the one that is being written just now.
            return explainer(self._settings, self._database, named)
        except ConfigError as error:
            raise Rejected(Fault(Reason.MALFORMED, "profile", str(error))) from None


def _load(settings: Settings, named: str) -> Profile:
    folders = profile_folders(settings)
    if named.endswith(".toml"):
        return profile_files.read(Path(named), folders)
    if named not in (there := names(settings)):
        raise ConfigError(f"profile: there is no {named!r}; there are {', '.join(there)}")
    return profile_files.load(named, folders)
