"""Which characters bytes stand for, and in which bytes a peer can read an answer; pure.

Two families name the same sets: HL7's MSH-18 (table 0211) and DICOM's Specific Character
Set (0008,0005) (PS3.3 C.12.1.1.2). Both may switch sets within a text by ISO 2022 escapes.
"""

from mwl.charsets.choosing import UTF_8, Choosing, choosing, is_utf_8
from mwl.charsets.labels import dicom_codec, is_readable
from mwl.charsets.latin import Rewriting
from mwl.charsets.reading import Decoded, Flag, Texts, decode, specific_character_set
from mwl.charsets.writing import ASCII, Script, encode_hl7, script

__all__ = [
    "ASCII",
    "UTF_8",
    "Choosing",
    "Decoded",
    "Flag",
    "Rewriting",
    "Script",
    "Texts",
    "choosing",
    "decode",
    "dicom_codec",
    "encode_hl7",
    "is_readable",
    "is_utf_8",
    "script",
    "specific_character_set",
]
