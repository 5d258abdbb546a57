"""Single settings: their types, and what makes a value wrong."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from mwl import charsets
from mwl.tls import check_rule

_POSTGRESQL = "postgresql+psycopg://"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what is bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ae_title(value: str) -> str:
    # PS3.5 6.2, AE: up to 16 characters of the default repertoire, no backslash, no
    # control characters; spaces at the ends mean nothing and spaces alone are no title.
    title = value.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
        raise ValueError("an AE title has 1 to 16 ASCII characters and no backslash")
    return title


def ae_title_or_none(value: str) -> str:
    return ae_title(value) if value else value


def dicom_charset(value: str) -> str:
    """See that all values of (0008,0005), parted by backslashes, are known; "" is none."""
    terms = [term for term in value.split("\\") if term]
    if not all(map(charsets.dicom_codec, terms)):
        raise ValueError("no Specific Character Set of PS3.3 C.12.1.1.2, as ISO_IR 100 is")
    return value


def zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone; write an IANA name like Europe/Berlin") from None
    return value


def zone_or_none(value: str) -> str:
    return zone(value) if value else value


def database_url(value: str) -> str:
    # Programs that aren't Python call the same thing postgres:// or postgresql://.
    value = re.sub(r"^postgres(ql)?://", _POSTGRESQL, value)
    if not re.match(r"sqlite:///.|" + re.escape(_POSTGRESQL) + r".", value):
        raise ValueError("must start with sqlite:///PATH or postgresql+psycopg://")
    if value.startswith(_POSTGRESQL):
        _check_postgresql(value)
    return value


def _check_postgresql(value: str) -> None:
    # Read as the engine will; who keeps everything in SQLite needn't wait for the import.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(value)
        url.get_dialect()().create_connect_args(url)
    except (ValueError, ArgumentError):
        # What they say may quote the password.
        raise ValueError(
            f"must be written {_POSTGRESQL}USER:PASSWORD@HOST:PORT/DATABASE, the port a number"
        ) from None


def host(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:_-]{1,253}", value):
        raise ValueError("must be an IP address or a host name")
    return value


def objects(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("must name a folder, or a bucket as s3://NAME/PREFIX")
    scheme, separator, rest = value.partition("://")
    if separator and (scheme not in {"s3", "gs", "az"} or not rest.strip("/")):
        raise ValueError("must name a folder, or a bucket as s3://NAME/PREFIX")
    return value


def path(value: str) -> str:
    """See that a path of a file can be one."""
    if "\0" in value or len(value) > 4096:
        raise ValueError("must be the path of a file")
    return value


def certificate(value: str) -> str:
    """Bring what names a peer's certificate into one spelling."""
    return check_rule(value)


def hl7_charset(value: str) -> str:
    """See that a name of MSH-18 is one that we can write."""
    if charsets.encode_hl7("", value) is None:
        raise ValueError("no such character set of table 0211 that we write, as UNICODE UTF-8 is")
    return value


def readable_characters(value: str) -> str:
    """See that a character set is one that we read: of (0008,0005), MSH-18, or Windows."""
    if not charsets.is_readable(value):
        raise ValueError("no such character set, as ISO_IR 100 or windows-1251 is")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic's contract
    return value


_NAME = r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$"
_NAME_OR_NONE = r"^([0-9A-Za-z][0-9A-Za-z_.-]{0,63})?$"
_MODALITY = r"^[A-Z0-9_ ]{1,16}$"
_MODALITY_OR_NONE = r"^[A-Z0-9_ ]{0,16}$"
_KEYWORD = r"^[A-Z][0-9A-Za-z]{0,63}$"
_UID = r"^[0-9.]{1,64}$"

_A_NAME = "must be a name of 1 to 64 letters and digits, or - _ . after the first"
_A_CODE = "must be a code of at most 16 capital letters and digits, like CT"

# What is like each pattern, in words.
SHAPES = {
    _NAME: _A_NAME,
    _NAME_OR_NONE: _A_NAME,
    _MODALITY: _A_CODE,
    _MODALITY_OR_NONE: _A_CODE,
    _KEYWORD: "must be the keyword of an attribute, like PatientSex",
    _UID: "must be a UID: at most 64 digits and dots",
}

Certificate = Annotated[str, StringConstraints(max_length=256), AfterValidator(certificate)]
AeTitle = Annotated[str, AfterValidator(ae_title)]
Host = Annotated[str, AfterValidator(host)]
Count = Annotated[int, BeforeValidator(_number)]
Time = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
ListenPort = Annotated[Count, Field(ge=0, le=65535)]  # 0 takes a free one
PeerPort = Annotated[Count, Field(ge=1, le=65535)]
Processes = Annotated[Count, Field(ge=1, le=64)]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
NameOrNone = Annotated[str, StringConstraints(pattern=_NAME_OR_NONE)]
Modality = Annotated[str, StringConstraints(pattern=_MODALITY)]
ModalityOrNone = Annotated[str, StringConstraints(pattern=_MODALITY_OR_NONE)]
Keyword = Annotated[str, StringConstraints(pattern=_KEYWORD)]  # PS3.6
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=400)]
May = Literal["worklist", "mpps", "store", "commit", "query", "retrieve"]
Event = Literal["IP", "CM", "DC", "CA", "CLOSED"]
Hl7Version = Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"]
Bytes = Annotated[Count, Field(ge=1)]
Uid = Annotated[str, StringConstraints(pattern=_UID)]


def folder(value: Any) -> Any:
    # "" would be the directory that the program happens to be started in.
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must name a folder")
    return value
