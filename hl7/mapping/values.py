r"""Make an HL7 text fit a DICOM attribute, or say why it doesn't.

Identifiers, UIDs and AE titles are taken as they are or not at all: a shortened or mended
identifier is somebody else's. By option one of ours stands for what is too long. Descriptions
are mended, and that is flagged:

- PS3.5 6.2: the backslash separates values, controls are forbidden → `/` and a blank;
- PS3.5 6.2.1: `^` and `=` structure a person name → a blank inside a component;
- too long → shortened, ending in `...` (in ASCII, so that every scanner shows it).
"""

import re

from hl7.mapping.report import Report
from mwl.errors import Reason
from mwl.shortened import LONGEST

ELLIPSIS = "..."
# HL7 table 0396 and PS3.16 8.2: a code whose sender names no scheme is a local one.
LOCAL_SCHEME = "L"
MOST_VALUES = 32

_RIGHT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_PADDED = re.compile(r"(?:^|\.)0[0-9]")
_AE_TITLE = re.compile(r"[ -\[\]-~]*")
# C0 and C1 controls, separators of lines, surrogates: nothing a scanner could show.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROLS_IN_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_IN_NAMES = re.compile("[\\\\=^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def line(text: str, length: int, where: str, report: Report) -> str:
    """Mend a description of one line (LO, SH)."""
    if not text.isprintable() or "\\" in text:
        mended = _CONTROLS.sub(" ", text).replace("\\", "/")
        if mended != text:
            report.flag(f"{where}: backslash or control characters replaced")
        text = mended
    text = text.strip()
    if len(text) <= length:
        return text
    report.flag(f"{where}: shortened to {length} characters")
    return text[: length - len(ELLIPSIS)] + ELLIPSIS


def lines(texts: list[str], length: int, where: str, report: Report) -> str:
    """Mend a text of several lines (LT), which PS3.5 6.2 lets hold CR LF."""
    text = "\n".join(text.strip().replace("\r\n", "\n").replace("\r", "\n") for text in texts)
    mended = _CONTROLS_IN_LINES.sub(" ", text).replace("\\", "/")
    if mended != text:
        report.flag(f"{where}: backslash or control characters replaced")
    mended = mended.strip().replace("\n", "\r\n")
    if len(mended) <= length:
        return mended
    report.flag(f"{where}: shortened to {length} characters")
    return mended[: length - len(ELLIPSIS)] + ELLIPSIS


def name_component(text: str, where: str, report: Report) -> str:
    """Mend one component of a person name."""
    if _IN_NAMES.search(text):
        report.flag(f"{where}: characters that structure a DICOM name replaced")
        text = _IN_NAMES.sub(" ", text.replace("\\", "/"))
    return text.strip()


def identifier(  # noqa: PLR0913 - what, where it stands, and what is done if it is too long
    text: str,
    length: int,
    where: str,
    report: Report,
    occurrence: int = 1,
    *,
    mapped: bool = False,
) -> str | None:
    """Take an identifier as it is; None with a fault where its attribute can't hold it.

    Where it is `mapped`, a short one stands for one that is too long.
    """
    if text.isalnum() and len(text) <= length:
        return text
    text = text.strip()
    if mapped and length < len(text) <= LONGEST and text.isprintable():
        return report.shorten(text, length, where)
    if len(text) > length:
        report.fault(
            Reason.TOO_LONG,
            where,
            f"{len(text)} characters; an identifier of at most {length} is needed",
            occurrence,
        )
        return None
    if not text.isprintable() or "\\" in text:
        report.fault(
            Reason.MALFORMED,
            where,
            "an identifier can't hold a backslash or control characters",
            occurrence,
        )
        return None
    return text


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID without fault."""
    return len(text) <= 64 and _RIGHT_UID.fullmatch(text) is not None


def uid(text: str, where: str, report: Report, occurrence: int = 1) -> str | None:
    """Take a UID (PS3.5 9.1)."""
    if is_uid(text):
        return text
    text = text.strip()
    if len(text) > 64:
        report.fault(Reason.TOO_LONG, where, "a UID has at most 64 characters", occurrence)
        return None
    if not _UID.fullmatch(text):
        report.fault(
            Reason.MALFORMED, where, "a UID is made of numbers separated by dots", occurrence
        )
        return None
    if _PADDED.search(text):
        # PS3.5 9.1 forbids them; systems that make such UIDs don't know them without.
        report.flag(f"{where}: a UID with leading zeros")
    return text


def ae_title(text: str, where: str, report: Report, occurrence: int = 1) -> str | None:
    """Take an AE title (PS3.5 6.2: AE); blanks at its ends mean nothing."""
    text = text.strip(" ")
    if len(text) > 16:
        report.fault(
            Reason.TOO_LONG,
            where,
            f"{len(text)} characters; an AE title has at most 16",
            occurrence,
        )
        return None
    if not _AE_TITLE.fullmatch(text):
        report.fault(
            Reason.MALFORMED,
            where,
            "an AE title is made of ASCII characters without backslash and controls",
            occurrence,
        )
        return None
    return text
