"""Stored values as shades of grey: modality LUT, then VOI, then the screen (PS3.3 C.11).

Which values make which grey depends on a value alone. Those of up to 16 bits are therefore
looked up in a table with a line for each value between the least and the greatest: the
same work for a picture of any size.
"""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mwl.pictures.window import Window

_WHITE = 255
_COPIED = (
    *("PhotometricInterpretation", "BitsStored", "BitsAllocated", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *(
        f"{c}PaletteColorLookupTable{what}"
        for c in ("Red", "Green", "Blue", "Alpha")
        for what in ("Descriptor", "Data")
    ),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue", "Alpha")),
)
_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def attributes_of(header: Dataset, index: int) -> Dataset:
    """Collect what makes a picture of frame `index`; functional groups (C.7.6.16) go first."""
    found = Dataset()
    for keyword in _COPIED:
        if keyword in header:
            found[keyword] = header[keyword]
    shared = (header.get("SharedFunctionalGroupsSequence") or [])[:1]
    of_frame = (header.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    for groups in (*shared, *of_frame):
        for name in _GROUPS:
            for item in (groups.get(name) or [])[:1]:
                found.update({e.tag: e for e in item if e.keyword in _COPIED})
    return found


def shown(
    stored: Any, attributes: Dataset, wanted: Window | None, *, inverse: bool
) -> tuple[Any, Window | None]:
    """Give the shades, and the window that they show; None where a VOI LUT made them."""
    is_small = stored.dtype.kind in "iub" and stored.dtype.itemsize <= 2
    if is_small:
        least, most = int(stored.min()), int(stored.max())
        domain = np.arange(least, most + 1, dtype=np.int32)
        places = (stored.astype(np.int32) - least).ravel()
        is_there = np.bincount(places, minlength=len(domain)) > 0
    else:
        domain, is_there = stored, np.isfinite(stored)
    shades, window = _shades(domain, is_there, attributes, wanted)
    if inverse:
        shades = _WHITE - shades
    return (shades[places].reshape(stored.shape) if is_small else shades), window


def _shades(
    domain: Any, is_there: Any, attributes: Dataset, wanted: Window | None
) -> tuple[Any, Window | None]:
    values = np.nan_to_num(_rescaled(domain, attributes))
    window = wanted or _own_window(attributes)
    function = str(attributes.get("VOILUTFunction") or "LINEAR")
    if window is None and attributes.get("VOILUTSequence"):
        out, bits = _looked_up(values, attributes.VOILUTSequence[0])
        return np.clip(out * (_WHITE / (2**bits - 1)), 0, _WHITE).astype(np.uint8), None
    if window is None:
        window = _whole(domain, values, is_there, attributes)
        function = "LINEAR_EXACT"
    return windowed(values, window, function), window


def _rescaled(domain: Any, attributes: Dataset) -> Any:
    """Apply the modality LUT (C.11.1)."""
    if attributes.get("ModalityLUTSequence"):
        return _looked_up(domain, attributes.ModalityLUTSequence[0])[0]
    slope, intercept = (_first(attributes.get(k)) for k in ("RescaleSlope", "RescaleIntercept"))
    return domain.astype(np.float64) * (1 if slope is None else slope) + (intercept or 0)


def _looked_up(values: Any, table: Dataset) -> tuple[Any, int]:
    """Look values up in a table of words; tell how many bits they have (C.11.1.1, C.11.2.1.1)."""
    entries, first, bits = (int(each) for each in table.LUTDescriptor)
    data = table.LUTData
    # OW are bytes still, and little endian wherever such a table was ever seen.
    words = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    words = words.astype(np.float64)[: entries or 1 << 16]
    places = np.clip(np.rint(values) - first, 0, len(words) - 1).astype(np.int64)
    return words[places], bits if 8 <= bits <= 16 else 16


def windowed(values: Any, window: Window, function: str) -> Any:
    """Apply a window (C.11.2.1.2, C.11.2.1.3)."""
    center, width = window.center, max(window.width, 1e-6)
    if function == "SIGMOID":
        grey = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        grey = (values - center) / width + 0.5
    else:
        # A width of 1 makes two shades, a smaller one is none.
        grey = (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    return np.rint(np.clip(grey, 0, 1) * _WHITE).astype(np.uint8)


def _own_window(attributes: Dataset) -> Window | None:
    center, width = (_first(attributes.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    return Window(center, width)


def _first(value: Any) -> float | None:
    """Take the first of a DS, None where there is none that is a number."""
    try:
        first = value if isinstance(value, (int, float, str)) else value[0]
        number = float(first)
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _whole(domain: Any, values: Any, is_there: Any, attributes: Dataset) -> Window:
    """Give the window from the least to the greatest value that is no padding."""
    seen = values[is_there & ~_padding(domain, attributes)]
    if not seen.size:
        seen = values
    least, most = float(seen.min()), float(seen.max())
    if least == most:
        return Window(least + 0.5, 1.0)  # nothing to be seen is black
    return Window((least + most) / 2, most - least)


def _padding(domain: Any, attributes: Dataset) -> Any:
    value = attributes.get("PixelPaddingValue")
    if value is None:
        return np.zeros(domain.shape, dtype=bool)
    limit = attributes.get("PixelPaddingRangeLimit", value)
    return (domain >= min(value, limit)) & (domain <= max(value, limit))
