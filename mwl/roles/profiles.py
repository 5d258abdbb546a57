"""The mapping profiles that the settings name."""

from pathlib import Path

from hl7 import profile_files
from hl7.profile import Profile
from hl7.profiles import Profiles, Rule
from mwl.config import Settings, shipped
from mwl.errors import ConfigError


def profile_folders(settings: Settings) -> list[Path]:
    """Tell where profiles are looked for: the site's own, then those of the program.

    Raises ConfigError where the site's are not: others of the same names would be read by.
    """
    coming = shipped("hl7/default.toml").parent
    if not settings.hl7.profiles:
        return [coming]
    own = settings.data_dir / settings.hl7.profiles
    if not own.is_dir():
        raise ConfigError(f"hl7.profiles: {own} is no folder: create it, or correct the path")
    return [own, coming]


def named(settings: Settings) -> dict[str, Profile]:
    """Read the profiles that the settings name. Raises ConfigError."""
    given = settings.hl7
    others = [*(each.profile for each in given.listener), *(each.profile for each in given.source)]
    names = {given.profile, *filter(None, others)}
    folders = profile_folders(settings)
    return {name: profile_files.load(name, folders) for name in sorted(names)}


def mapping_profiles(settings: Settings) -> Profiles:
    """Read the profiles that the settings name, and whose messages each reads.

    Raises ConfigError.
    """
    given = settings.hl7
    listeners = {each.name: each.profile for each in given.listener if each.profile}
    rules = [Rule(each.name, each.listener, each.profile) for each in given.source]
    zone = settings.site.zone_info
    return Profiles(named(settings), zone, given.profile, listeners=listeners, rules=rules)
