"""What follows when work is reported, by the settings and the mapping profiles that they name."""

from collections.abc import Callable
from dataclasses import replace

from mwl import closing, outbox, procedures
from mwl.config import Settings
from mwl.performed import BY_ITSELF, Reasons
from mwl.roles import profiles


def effects(settings: Settings) -> procedures.Effects:
    """Give who is told or sent what, the rule by which orders close, what giving one up means.

    Raises ConfigError.
    """
    told = outbox.Destinations.of(settings.hl7.destination)
    managers = outbox.Managers.of(settings.mpps.forward)
    by_rule = closing.effects(close_rules(settings), told, _reasons(settings))
    return replace(by_rule, managers=managers)


def close_rules(settings: Settings) -> closing.Choices:
    """Give the rule by which orders close. Raises ConfigError."""
    images = {name: each.close.images for name, each in profiles.named(settings).items()}
    by_profile = {name: where for name, where in images.items() if where}
    return closing.Choices(**settings.close.model_dump(), by_profile=by_profile)


def _reasons(settings: Settings) -> Callable[[str], Reasons]:
    read = {name: each.discontinued for name, each in profiles.named(settings).items()}
    return lambda profile: read.get(profile, BY_ITSELF)
