"""What is fuzzed: a reader each, with the errors that it may raise, and what else must hold.

A target takes any bytes. It raises nothing; an AssertionError, or whatever gets out of it, is
a finding.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from unittest.mock import patch

from mwl import dataset
from mwl.errors import ProtocolError, Rejected
from mwl.net.codec import COMMAND, HEADER, LAST, data_values, decode, encode
from mwl.net.dimse import (
    Context,
    MessageAssembler,
    decode_command,
    encode_command,
    fragments,
)
from mwl.net.limits import DEFAULTS
from mwl.net.negotiation import Supported, negotiate
from mwl.net.pdu import AssociateRequest, PduError, title_text
from mwl.scp.attributes import vr_of
from mwl.scp.coercion import coerced
from mwl.scp.pieces import Unwritable
from mwl.scp.reencoding import Form, reencoded
from mwl.scp.storage import inflate
from mwl.scp.storage.attributes import OF_REQUESTS, WANTED, attributes
from mwl.scp.storage.header import Header, Scanner
from mwl.scp.storage.inflate import InflatingScanner
from mwl.studies import Identity
from tests import storing
from tests.dicom_client import MODALITY_WORKLIST_FIND, VERIFICATION, proposal, request
from tests.identifiers import asking, encoded

Target = Callable[[bytes], None]

_LIMITS = replace(DEFAULTS, max_command_bytes=2048, max_data_set_bytes=4096, max_contexts=4)
_IMPLICIT = "1.2.840.10008.1.2"
_CONTEXTS = {
    1: Context(1, VERIFICATION, _IMPLICIT),
    3: Context(3, MODALITY_WORKLIST_FIND, _IMPLICIT),
}
_SUPPORTED = {
    VERIFICATION: Supported((_IMPLICIT,)),
    MODALITY_WORKLIST_FIND: Supported((_IMPLICIT,), requestor_may_be_scp=True, invokes=True),
}
_MOST_INFLATED = 1024 * 1024


def pdu(data: bytes) -> None:
    """Decode: what was read is written as what is read again; a proposal is answered."""
    if not data:
        return
    with suppress(PduError):
        read = decode(data[0] & 0x0F, data[1:])
        kind, length = HEADER.unpack_from(written := encode(read))
        assert length == len(written) - HEADER.size
        assert decode(kind, written[HEADER.size :]) == read
        if isinstance(read, AssociateRequest):
            assert title_text(read.calling_title).isprintable()
            agreed = negotiate(read, _SUPPORTED, _LIMITS)
            encode(getattr(agreed, "accept", agreed))


def values(data: bytes) -> None:
    """Data values: their fragments are parts of what came."""
    with suppress(PduError):
        sizes = [len(fragment) + 6 for _, _, fragment in data_values(data)]
        assert sum(sizes) == len(data)


def assembler(data: bytes) -> None:
    """Messages from data values: never longer than allowed."""
    made = MessageAssembler(_CONTEXTS, _LIMITS)
    try:
        for context_id, control, fragment in data_values(data):
            message = made.feed(context_id, control, fragment)
            if message is not None:
                assert len(message.data_set or b"") <= _LIMITS.max_data_set_bytes
                assert message.command.has_data_set == (message.data_set is not None)
    except ProtocolError:
        pass
    finally:
        made.abandon()


def command(data: bytes) -> None:
    """A command set: what was read is written as what is read again."""
    with suppress(ProtocolError):
        read = decode_command(data)
        elements = {number: value for number, value in read.elements.items() if number}
        again = decode_command(encode_command(elements))
        assert {**again.elements, 0: b""} == {**read.elements, 0: b""}
        assert (again.field, again.message_id) == (read.field, read.message_id)
        assert len(read.sop_class) <= len(data)


def data_set(data: bytes) -> None:
    """A data set that is held in memory."""
    for explicit in (False, True):
        with suppress(Rejected):
            found = dataset.read(data, explicit=explicit, vr_of=vr_of)
            dataset.character_sets(found)
            assert list(found) == sorted(found)


def header(data: bytes) -> None:
    """The header of an instance: the same in whatever pieces."""
    for big in (False, True):
        whole = _scanned(Scanner(WANTED, OF_REQUESTS, big=big), [data])
        pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
        assert _scanned(Scanner(WANTED, OF_REQUESTS, big=big), pieces) == whole
        if whole is not None:
            attributes(whole, big=big)


def inflating(data: bytes) -> None:
    """The header of a deflated instance: inflated no further than allowed."""
    with patch.object(inflate, "MAX_INFLATED_BYTES", _MOST_INFLATED):
        scanner = InflatingScanner(Scanner(WANTED, OF_REQUESTS, big=False))
        _scanned(scanner, [data])
    assert scanner._inflated <= _MOST_INFLATED + inflate._INFLATED_PIECE


def reencoding(data: bytes) -> None:
    """A data set written anew: in bounded length, and then it can be written back."""
    for explicit, form in (
        *((explicit, form) for explicit in (False, True) for form in Form),
        (False, None),
    ):
        with suppress(Unwritable):
            written = _written(reencoded(_pieces(data), explicit=explicit, read=form))
            # A delimiter for each sequence and item, and a long form for a short one.
            assert len(written) <= 3 * len(data) + 16
            its = Form.EXPLICIT if explicit else Form.IMPLICIT
            again = _written(reencoded([written], explicit=explicit, read=its))
            # What was no sequence, but is one by its tag, is one from the second time on.
            assert _written(reencoded([again], explicit=explicit, read=its)) == again


def coercion(data: bytes) -> None:
    """A data set under another name: what says so already is left as it is."""
    for name in ("Roe^Jane", "\u5c71\u7530"):  # the second is seldom to be said but in UTF-8
        identity = Identity(name, "P9", "HOSP", "19800102", "F", "A9")
        with suppress(Unwritable):
            written = _written(coerced(_pieces(data), identity, ""))
            assert _written(coerced([written], identity, "")) == written


def hl7(data: bytes) -> None:
    """A stream of HL7, to what it asks for."""
    from tests.fuzz import hl7 as of_hl7  # which no other target pays for

    of_hl7.stream(data)


def _scanned(scanner: Scanner | InflatingScanner, pieces: Iterable[bytes]) -> Header | None:
    try:
        for piece in pieces:
            scanner.feed(memoryview(piece))
        return scanner.finish()
    except Rejected:
        return None


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 100):
        yield data[start : start + 100]


def _written(pieces: Iterable[bytes | memoryview]) -> bytes:
    return b"".join(pieces)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        pdu,
        values,
        assembler,
        command,
        data_set,
        header,
        inflating,
        reencoding,
        coercion,
        hl7,
    )
}


def seeds(name: str) -> list[bytes]:
    """Give what a target's fuzzing begins with: examples that are right."""
    import zlib

    if name == "hl7":
        from tests.fuzz import hl7 as of_hl7

        return of_hl7.seeds()
    identifier = asking("PatientName", step=("Modality",), charset="ISO_IR 100", PatientID="P*")
    images = [
        storing.encoded(storing.image(RequestAttributesSequence=[identifier]), syntax)
        for syntax in (storing.EXPLICIT, storing.IMPLICIT, storing.BIG)
    ]
    find = request(3, 0x0020, MODALITY_WORKLIST_FIND, 1, encoded(identifier, explicit=False))
    associate = proposal("MWL", "CT1", tuple(_SUPPORTED), (_IMPLICIT,), 16384)
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(images[0]) + deflater.flush()
    body = find[HEADER.size : HEADER.size + HEADER.unpack_from(find)[1]]
    whole = b"".join(each[HEADER.size :] for each in _pdus(find))
    given: dict[str, list[bytes]] = {
        "pdu": [associate[:1] + associate[6:], bytes([4]) + body, bytes([7]) + bytes(4)],
        "values": [body, whole],
        "assembler": [
            whole,
            b"".join(each[6:] for each in fragments(3, COMMAND | LAST, body[6:], 64)),
        ],
        "command": [body[6:]],
        "data_set": [encoded(identifier, explicit=explicit) for explicit in (False, True)],
        "inflating": [deflated],
    }
    return given.get(name, [image[:600] for image in images])


def _pdus(stream: bytes) -> Iterator[bytes]:
    while stream:
        end = HEADER.size + HEADER.unpack_from(stream)[1]
        yield stream[:end]
        stream = stream[end:]
