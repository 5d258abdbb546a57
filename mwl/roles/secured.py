"""The certificates of the settings: for the port over TLS, and for whom we call."""

from datetime import UTC, datetime
from pathlib import Path

import structlog

from mwl.config import Settings, Tls
from mwl.errors import ConfigError
from mwl.tls import Files, Keys

log = structlog.get_logger(__name__)


def keys_of(settings: Settings) -> Keys:
    """Read what `dicom.tls` names. Raises ConfigError."""
    return _keys("dicom.tls", settings.dicom.tls, settings.data_dir)


def hl7_keys_of(settings: Settings) -> Keys:
    """Read what `hl7.tls` names. Raises ConfigError."""
    return _keys("hl7.tls", settings.hl7.tls, settings.data_dir)


def _keys(table: str, given: Tls, folder: Path) -> Keys:
    def path(name: str) -> Path | None:
        return folder / name if name else None

    files = Files(
        table, path(given.certificate), path(given.key), given.key_password, path(given.ca)
    )
    return Keys(files, given.client)


def look_after(*keys: Keys) -> None:
    """Log which certificates end soon, or have ended."""
    concerns = [text for each in keys for text in each.concerns(datetime.now(UTC))]
    for text in concerns:
        log.warning("tls.certificate_ends", what=text)


def renew(*keys: Keys) -> None:
    """Read the files anew; of those where that fails, what there was stays in use."""
    renewed = [each for each in keys if _is_renewed(each)]
    if len(renewed) == len(keys):
        log.info("tls.renewed")
    look_after(*renewed)


def _is_renewed(keys: Keys) -> bool:
    try:
        keys.reload()
    except ConfigError as error:
        log.error("tls.not_renewed", error=str(error))  # noqa: TRY400 - it says all
        return False
    return True
