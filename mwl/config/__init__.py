"""Settings: a TOML file, overridden by the environment, checked before anything starts.

The file is `--config FILE`, else `MWL_CONFIG`, else the shipped `config/mwl.toml`, which
holds every key with its default. A variable `MWL_SECTION__KEY` overrides one key. Whatever
is wrong raises ConfigError: one line that names the file or the variable, and the key.
"""

from mwl.config.base import dotted
from mwl.config.devices import (
    DeviceCharacters,
    DeviceTable,
    DeviceWorklist,
    Tolerated,
    Waiting,
)
from mwl.config.faults import describe, of_device
from mwl.config.reading import load, shipped
from mwl.config.tables import (
    Archive,
    Close,
    Commit,
    Database,
    Destination,
    Dicom,
    Forward,
    Hl7,
    Journal,
    Listener,
    Log,
    Mpps,
    MppsForward,
    Settings,
    Site,
    Tls,
    Web,
)
from mwl.config.values import AeTitle, Event, Host, ListenPort, May, PeerPort, is_loopback
from mwl.config.worklists import Worklist, WorklistExport, WorklistSource

__all__ = [
    "AeTitle",
    "Archive",
    "Close",
    "Commit",
    "Database",
    "Destination",
    "DeviceCharacters",
    "DeviceTable",
    "DeviceWorklist",
    "Dicom",
    "Event",
    "Forward",
    "Hl7",
    "Host",
    "Journal",
    "ListenPort",
    "Listener",
    "Log",
    "May",
    "Mpps",
    "MppsForward",
    "PeerPort",
    "Settings",
    "Site",
    "Tls",
    "Tolerated",
    "Waiting",
    "Web",
    "Worklist",
    "WorklistExport",
    "WorklistSource",
    "describe",
    "dotted",
    "is_loopback",
    "load",
    "of_device",
    "shipped",
]
