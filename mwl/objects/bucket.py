"""How a bucket is reached: from the settings, else the environment, to obstore's stores.

Every request is bounded. A bucket that does not answer costs `_REQUEST_S`, one that keeps
failing `_RETRY_S`, and the worst of both their sum; nothing hangs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mwl.config import Archive, is_loopback
from mwl.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_CONNECT_S = 3
_REQUEST_S = 15  # a part of 5 MiB needs 350 kB/s
_RETRY_S = 10  # no further attempt after so long
_RETRIES = 3
# A download lasts as long as its reader takes; it is its silence that is bounded.
_DOWNLOAD_H = 6


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects are kept; without secrets, so that it may be shown."""

    scheme: str  # s3, gs, az
    name: str
    prefix: str
    endpoint: str  # "": the provider's own

    def __str__(self) -> str:
        place = f"{self.scheme}://{self.name}/{self.prefix}".rstrip("/")
        return f"{place} at {self.endpoint}" if self.endpoint else place


def parse(archive: Archive, environ: Mapping[str, str] = os.environ) -> Bucket:
    """Read where the bucket is. Raises ConfigError, naming the key or the variable."""
    scheme, _, rest = archive.objects.partition("://")
    name, _, prefix = rest.strip("/").partition("/")
    where, endpoint = "archive.endpoint", archive.endpoint
    if not endpoint and scheme == "s3":
        where = next((v for v in _S3_VARIABLES if environ.get(v)), where)
        endpoint = environ.get(where, "")
    if endpoint:
        _check_endpoint(where, endpoint, environ)
    if scheme == "gs" and (archive.access_key_id or archive.secret_access_key):
        raise ConfigError(
            "archive.access_key_id: a bucket of Google's has no such keys; name the file of a "
            "service account in GOOGLE_APPLICATION_CREDENTIALS"
        )
    return Bucket(scheme, name, prefix.strip("/"), endpoint.rstrip("/"))


_S3_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def _check_endpoint(where: str, endpoint: str, environ: Mapping[str, str]) -> None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.username:
        raise ConfigError(f"{where}: must be written https://HOST or https://HOST:PORT")
    plain = is_loopback(host) or environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
    if parts.scheme == "http" and not plain:
        raise ConfigError(
            f"{where}: must be https://, for images would cross the network in the clear; "
            "where that network is trusted, set the variable AWS_ALLOW_HTTP=true"
        )


def connect(bucket: Bucket, archive: Archive, *, downloads: bool = False) -> "ObjectStore":
    """Make obstore's object for a bucket; it connects with its first request.

    With `downloads` for streams that may last long, else for requests of bounded size.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    client, retry = _bounds(bucket, downloads)
    common: dict[str, Any] = {"client_options": client, "retry_config": retry}
    if bucket.prefix:
        common["prefix"] = bucket.prefix
    if bucket.scheme == "s3":
        # One object at a time is deleted; not every server knows the call for many.
        s3 = _given(
            endpoint=bucket.endpoint,
            region=archive.region,
            access_key_id=archive.access_key_id,
            secret_access_key=archive.secret_access_key,
        )
        return S3Store(bucket.name, config=s3, disable_bulk_delete=True, **common)
    if bucket.scheme == "gs":
        return GCSStore(bucket.name, config=_given(base_url=bucket.endpoint), **common)
    given = _given(
        endpoint=bucket.endpoint,
        account_name=archive.access_key_id,
        account_key=archive.secret_access_key,
    )
    return AzureStore(bucket.name, config=given, **common)


def _given(**values: str) -> Any:
    """Keep what is set; the rest obstore takes from the environment."""
    return {name: value for name, value in values.items() if value}


def _bounds(bucket: Bucket, downloads: bool) -> tuple["ClientConfig", "RetryConfig"]:
    client: ClientConfig = {
        "allow_http": bucket.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "timeout": timedelta(hours=_DOWNLOAD_H) if downloads else timedelta(seconds=_REQUEST_S),
    }
    if downloads:
        client["read_timeout"] = timedelta(seconds=_REQUEST_S)
    return client, {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)}
