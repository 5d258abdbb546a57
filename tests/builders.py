"""HL7 messages for tests: plausible by default, each field open to an override.

    orm(ORC_1="CA", PID_5="Doe^Jane")      other values
    orm(OBR_24=None)                       an empty field
    orm(MSH_18="8859/1", ZDS_1="1.2.3")    segments that were not there come to the end
    orm(without=["ZDS"], after="NTE|1||x") segments left out; lines put at the end
    orm(NTE=["NTE|1||a", "NTE|2||b"])      a segment replaced by lines of one's own

Values are written as given: delimiters in them delimit.
"""

import itertools
from collections.abc import Iterable, Mapping

Lines = str | Iterable[str]
Override = str | list[str] | None
_control_ids = (f"T{number:06d}" for number in itertools.count(1))

_PATIENT = {
    "PID_3": "PID1^^^ADT1^MR",
    "PID_5": "Doe^Jane^Q",
    "PID_7": "19800229",
    "PID_8": "F",
}
_VISIT = {"PV1_2": "O", "PV1_19": "V1^^^ADT1"}
_ORDER = {
    "ORC_1": "NW",
    "ORC_2": "PO1^RIS",
    "ORC_3": "FO1^RIS",
    "ORC_5": "SC",
    "OBR_2": "PO1^RIS",
    "OBR_3": "FO1^RIS",
    "OBR_4": "CTHEAD^CT head^99RIS",
    "OBR_16": "123^Welby^Marcus",
}
_PROCEDURE = {"OBR_18": "ACC1", "OBR_19": "RP1", "OBR_20": "SPS1", "OBR_24": "CT"}
_STUDY = {"ZDS_1": "1.2.826.0.1.3680043.8.498.1^^Application^DICOM"}


def orm(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """ORM^O01: one new order with one CT step, accession ACC1, of Jane Doe."""
    start = {"ORC_7": "^^^20300102093000^^R"}
    base = {**_PATIENT, **_VISIT, **_ORDER, **start, **_PROCEDURE, **_STUDY}
    return message("ORM^O01^ORM_O01", base, fields, without, after)


def omg(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """OMG^O19: the order of `orm`, its time and priority in TQ1."""
    start = {"TQ1_1": "1", "TQ1_7": "20300102093000", "TQ1_9": "R"}
    base = {**_PATIENT, **_VISIT, **_split(_ORDER, start), **_PROCEDURE, **_STUDY}
    return message("OMG^O19^OMG_O19", base, fields, without, after)


def omi(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """OMI^O23: the order of `orm`, its identifiers in IPC."""
    start = {"TQ1_1": "1", "TQ1_7": "20300102093000", "TQ1_9": "R"}
    step = {
        "IPC_1": "ACC1",
        "IPC_2": "RP1",
        "IPC_3": "1.2.826.0.1.3680043.8.498.1",
        "IPC_4": "SPS1",
        "IPC_5": "CT",
        "IPC_6": "P1^Head without contrast^99RIS",
        "IPC_7": "CT_ROOM_1",
        "IPC_9": "CT1",
    }
    base = {**_PATIENT, **_VISIT, **_split(_ORDER, start), **step}
    return message("OMI^O23^OMI_O23", base, fields, without, after)


def adt_a08(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """ADT^A08: Jane Doe's demographics."""
    base = {"EVN_2": "20300101120000", **_PATIENT, **_VISIT}
    return message("ADT^A08^ADT_A01", base, fields, without, after)


def adt_a40(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """ADT^A40: patient PID2 (MRG) becomes part of PID1 (PID)."""
    base = {"EVN_2": "20300101120000", **_PATIENT, "MRG_1": "PID2^^^ADT1^MR"}
    return message("ADT^A40^ADT_A39", base, fields, without, after)


def oru(without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """ORU^R01: the final report of the order of `orm`, one line of text."""
    base = {
        **_PATIENT,
        "OBR_2": "PO1^RIS",
        "OBR_3": "FO1^RIS",
        "OBR_4": "CTHEAD^CT head^99RIS",
        "OBR_18": "ACC1",
        "OBR_22": "20300102110000",
        "OBR_25": "F",
        "OBR_32": "7&House&Gregory",
        "OBX_2": "TX",
        "OBX_3": "18748-4^Diagnostic Imaging Report^LN",
        "OBX_5": "No bleeding.",
        "OBX_11": "F",
    }
    return message("ORU^R01^ORU_R01", base, fields, without, after)


def siu(
    trigger: str = "S12", without: Iterable[str] = (), after: Lines = (), **fields: Override
) -> str:
    """SIU: an appointment of Jane Doe, one CT in room R1, known by its own numbers."""
    base = {
        "SCH_1": "PA1^RIS",
        "SCH_2": "FA1^RIS",
        "SCH_7": "FALL^After a fall^99RIS",
        "SCH_25": "BOOKED",
        **_PATIENT,
        **_VISIT,
        "RGS_1": "1",
        "AIS_1": "1",
        "AIS_2": "A",
        "AIS_3": "CTHEAD^CT head^99RIS",
        "AIS_4": "20300102093000",
        "AIG_3": "CT1^CT one",
        "AIL_3": "RAD^R1",
        "AIP_3": "7^House^Gregory",
    }
    return message(f"SIU^{trigger}^SIU_S12", base, fields, without, after)


def adt(event: str, without: Iterable[str] = (), after: Lines = (), **fields: Override) -> str:
    """ADT of any event (A01, A10, …): Jane Doe, her visit V1 and where she lies."""
    base = {"EVN_2": "20300101120000", **_PATIENT, **_VISIT, "PV1_3": "WARD2^12^B"}
    return message(f"ADT^{event}", base, fields, without, after)


def message(
    message_type: str,
    base: Mapping[str, str],
    fields: Mapping[str, Override],
    without: Iterable[str] = (),
    after: Lines = (),
) -> str:
    """Any message: `{"PID_3": …}` by segment and field, segments in order of appearance."""
    values: dict[str, Override] = {
        "MSH_2": "^~\\&",
        "MSH_3": "RIS",
        "MSH_4": "HOSPITAL",
        "MSH_5": "MWL",
        "MSH_6": "RADIOLOGY",
        "MSH_7": "20250101120000",
        "MSH_9": message_type,
        "MSH_10": next(_control_ids),
        "MSH_11": "P",
        "MSH_12": "2.5.1",
        **base,
        **fields,
    }
    segments: dict[str, dict[int, str]] = {}
    replaced: dict[str, list[str]] = {}
    for key, value in values.items():
        name, _, number = key.partition("_")
        placed = segments.setdefault(name, {})
        if isinstance(value, list):
            replaced[name] = value
        else:
            placed[int(number)] = value or ""
    lines = []
    for name, placed in segments.items():
        if name not in set(without):
            lines += replaced.get(name) or [_segment(name, placed)]
    lines += [after] if isinstance(after, str) else after
    return "".join(f"{line}\r" for line in lines)


def _segment(name: str, fields: Mapping[int, str]) -> str:
    first = 2 if name == "MSH" else 1
    values = [fields.get(number, "") for number in range(first, max(fields, default=0) + 1)]
    return "|".join([name, *values])


def _split(order: Mapping[str, str], between: Mapping[str, str]) -> dict[str, str]:
    """Put segments between ORC and OBR."""
    orc = {key: value for key, value in order.items() if key.startswith("ORC")}
    return {**orc, **between, **order}
