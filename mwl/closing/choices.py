"""What a site has chosen of how its orders end."""

from collections.abc import Mapping
from datetime import timedelta

from mwl import config
from mwl.closing_rules import Rules
from mwl.config.tables import ImagesGo


class Choices(config.Close):
    """`[close]` of the settings, and of mapping profiles, by their names."""

    by_profile: Mapping[str, ImagesGo] = {}

    def images_of(self, profile: str) -> ImagesGo:
        """Tell where the images go of an order that the mapping profile `profile` read."""
        return self.by_profile.get(profile, self.images)


def rules_of(close: config.Close, profile: str = "") -> Rules:
    """Take the rules for the orders of a mapping profile."""
    return Rules(
        elsewhere=close.images_of(profile) == "elsewhere",
        ask=timedelta(hours=close.ask_h),
        quiet=timedelta(minutes=close.quiet_min),
        expire=timedelta(days=close.expire_days),
    )
