"""Worklists that are brought in from other servers, and that are kept in folders for them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from mwl.config import values
from mwl.config.base import Table
from mwl.config.values import (
    AeTitle,
    Certificate,
    Count,
    Host,
    ModalityOrNone,
    Name,
    PeerPort,
    Time,
)

_Charset = Annotated[str, StringConstraints(max_length=128), AfterValidator(values.dicom_charset)]


class WorklistSource(Table):
    """Another server whose worklist is asked for, and whose items are ours as well.

    `days_back` and `days_ahead` of today is what is asked for, of `modality` alone if that is
    given. `calling` is who we say we are, "" `dicom.ae_title`. `charset` is the set that we ask
    in, and that an answer which names none is in. `vanished` is what becomes of what is on its
    list no more, once that is `missing_s` old. A list that lost more than `lose_items` and that
    `lose_part` of what was known, or all, is not believed.
    """

    name: Name
    ae_title: AeTitle
    host: Host
    port: PeerPort
    calling: Annotated[str, AfterValidator(values.ae_title_or_none)] = ""
    tls: bool = False  # with the files of [dicom.tls]
    certificate: Certificate = ""
    every_s: Time = Field(default=60, ge=1, le=86_400)
    days_back: Annotated[Count, Field(ge=0, le=366)] = 1
    days_ahead: Annotated[Count, Field(ge=0, le=366)] = 7
    modality: ModalityOrNone = ""
    charset: _Charset = "ISO_IR 192"
    vanished: Literal["cancel", "keep"] = "cancel"
    missing_s: Time = Field(default=120, ge=0, le=86_400)
    lose_items: Count = Field(default=20, ge=0)
    lose_part: Time = Field(default=0.5, ge=0, le=1)
    max_answers: Annotated[Count, Field(ge=1, le=100_000)] = 10_000
    timeout_s: Time = Field(default=300, gt=0, le=3600)


class WorklistExport(Table):
    """A folder of worklist files that is kept fresh; a relative path starts at `data_dir`.

    `device`: as that one would see the list; "" as any. `charset`: the set that files are
    written in, "" as the list is answered.
    """

    folder: Annotated[str, StringConstraints(min_length=1), AfterValidator(values.path)]
    format: Literal["wlmscpfs", "orthanc"] = "wlmscpfs"
    every_s: Time = Field(default=30, ge=1, le=86_400)
    device: Annotated[str, AfterValidator(values.ae_title_or_none)] = ""
    charset: _Charset = ""


class Worklist(Table):
    """How long what is over is kept, 0 for ever; what is brought in, and what kept for others."""

    keep_days: Time = Field(default=0, ge=0, le=36_500)

    source: tuple[WorklistSource, ...] = Field(default=(), max_length=100)
    export: tuple[WorklistExport, ...] = Field(default=(), max_length=100)
