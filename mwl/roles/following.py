"""What follows when work is reported, by the settings."""

from mwl import closing, outbox, procedures
from mwl.config import Settings


def effects(settings: Settings) -> procedures.Effects:
    """Give who is told, and the rule by which orders close."""
    return closing.effects(settings.close, outbox.Destinations.of(settings.hl7.destination))
