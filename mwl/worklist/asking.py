"""How a scanner asks for its worklist: who it is to us, and the query that most of them send.

Scanners ask by their modality, by their own AE title as the station, for today. Service
engineers may set them otherwise; what is usual is what people expect when they ask why a
scanner doesn't see a patient.
"""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlmodel import Session

from mwl import devices, matching
from mwl.matching import UNIVERSAL, Matcher
from mwl.worklist.find import Query
from mwl.worklist.scope import Caller


def caller(session: Session, ae_title: str) -> Caller:
    """Tell who asks; a stranger that was let in may be any scanner."""
    device = devices.lookup(session, ae_title)
    return Caller(ae_title, (device.modality or None) if device else None)


def today(now: datetime, zone: ZoneInfo) -> str:
    """Tell the date, YYYYMMDD, that the site's wall clock shows."""
    return now.astimezone(zone).strftime("%Y%m%d")


def usual_query(asker: Caller, day: str = "") -> Query:
    """Make the query that a scanner is expected to send for a day, YYYYMMDD; "": for any."""
    keys: Mapping[str, Matcher] = {
        "modality": matching.text(asker.modality or "", "Modality"),
        "station_ae_titles": matching.text(
            asker.ae_title, "ScheduledStationAETitle", wildcards=False
        ),
        "start": matching.start(
            matching.dates(day, "ScheduledProcedureStepStartDate"), UNIVERSAL
        ).instant,
    }
    return Query(keys=keys, caller=asker)
