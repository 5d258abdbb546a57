"""The certificates of the settings: for the port over TLS, and for whom we call."""

from datetime import UTC, datetime
from pathlib import Path

import structlog

from mwl.config import Settings
from mwl.errors import ConfigError
from mwl.tls import Files, Keys

log = structlog.get_logger(__name__)


def keys_of(settings: Settings) -> Keys:
    """Read what `dicom.tls` names. Raises ConfigError."""
    given, folder = settings.dicom.tls, settings.data_dir

    def path(name: str) -> Path | None:
        return folder / name if name else None

    files = Files(
        "dicom.tls", path(given.certificate), path(given.key), given.key_password, path(given.ca)
    )
    return Keys(files, given.client)


def look_after(keys: Keys) -> None:
    """Log which certificates end soon, or have ended."""
    for text in keys.concerns(datetime.now(UTC)):
        log.warning("tls.certificate_ends", what=text)


def renew(keys: Keys) -> None:
    """Read the files anew; where that fails, what there was stays in use."""
    try:
        keys.reload()
    except ConfigError as error:
        log.error("tls.not_renewed", error=str(error))  # noqa: TRY400 - it says all
        return
    log.info("tls.renewed")
    look_after(keys)
