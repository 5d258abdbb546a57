"""Wire what explains HL7 messages: by the profiles of the settings, or by one that is named."""

from functools import lru_cache
from pathlib import Path

from hl7 import profile
from hl7.explain import Explainer
from hl7.intake import Intake
from hl7.profiles import Profiles
from hl7.rehearsal import Rehearsal
from mwl.config import Settings, shipped
from mwl.db import Database
from mwl.errors import ConfigError
from mwl.roles.following import effects
from mwl.roles.hl7 import mapping_profiles


def names() -> list[str]:
    """List the profiles that there are, in use or not."""
    return sorted(file.stem for file in shipped("hl7").glob("*.toml"))


def explainer(
    settings: Settings, database: Database | None, named: str = "", profiles: Profiles | None = None
) -> Explainer:
    """Explain by the profile `named`, a name or a file; "": as messages are taken.

    `database` None: what would change is not told. Raises ConfigError.
    """
    why = ""
    if named:
        file = _file(named)
        loaded = _load(file, file.stat().st_mtime_ns)
        profiles = Profiles.single(loaded, settings.site.zone_info, file.stem)
        why = "it was asked for"
    profiles = profiles or mapping_profiles(settings)
    intake = Intake(profiles, told=effects(settings).told)
    rehearse = Rehearsal(database, intake) if database is not None else None
    return Explainer(profiles, intake, rehearse, why)


class Explainers:
    """One explainer for each profile that is asked for. Threads share it."""

    def __init__(self, settings: Settings, database: Database, profiles: Profiles) -> None:
        self._settings, self._database = settings, database
        self._chosen = explainer(settings, database, profiles=profiles)

    def __call__(self, named: str) -> Explainer:
        """Give the explainer by the profile of that name; "": as messages are taken."""
        if not named:
            return self._chosen
        if named not in names():
            raise ConfigError(f"profile: there is no {named!r}")
        return explainer(self._settings, self._database, named)


def _file(named: str) -> Path:
    if named.endswith(".toml"):
        file = Path(named)
    elif named in names():
        file = shipped(f"hl7/{named}.toml")
    else:
        raise ConfigError(f"profile: there is no {named!r}; there are {', '.join(names())}")
    if not file.is_file():
        raise ConfigError(f"profile: there is no file {named}")
    return file


@lru_cache(maxsize=16)
def _load(file: Path, _changed_at: int) -> profile.Profile:
    return profile.load(file)
