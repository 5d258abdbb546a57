"""Every bound that a DICOM peer meets on an association, in one value.

What its data sets meet stands where they are read: `mwl.dataset.Bounds` (bytes, elements and
depth of what is held in memory), `mwl.scp.gathering` (long lists at once), `mwl.scp.storage`
(depth, elements and wanted values of an instance's header; how much is inflated, and at which
ratio), `mwl.scp.reencoding` and `mwl.scp.coercion` (depth of what is written anew). Each bound
has a test; tests/test_mwl_net_bounds.py lists them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one listening port; times in seconds, lengths in bytes.

    A PDU's length is that of its variable field, as PS3.8 D.1 counts it.
    """

    # How many at once. Over these, an A-ASSOCIATE-RQ is still read, to be refused as
    # transient; over max_refusals of those, the connection is closed unheard.
    max_associations: int = 200
    max_associations_per_address: int = 100
    max_refusals: int = 32
    max_backlog_connections: int = 128
    max_parked_threads: int = 8

    # How long. PS3.8 calls the first and the last of these the ARTIM timer.
    tls_handshake_timeout_s: float = 10.0  # from the connection, on a port that speaks TLS
    associate_timeout_s: float = 30.0  # from the connection to a whole A-ASSOCIATE-RQ
    idle_timeout_s: float = 600.0  # between messages
    pdu_timeout_s: float = 30.0  # from a PDU's first byte to its last; between PDUs of a message
    message_timeout_s: float = 60.0  # for a whole message, and longer by its bytes at
    min_message_bytes_per_s: int = 4 * 1024  # this rate, at which a whole PDU must come anyway
    response_timeout_s: float = 120.0  # for the peer to answer what we request of it
    write_timeout_s: float = 30.0  # for the peer to take one buffer
    release_timeout_s: float = 30.0  # for the peer to answer our release
    close_timeout_s: float = 5.0  # for the peer to close after the last PDU

    # How much.
    max_associate_bytes: int = 256 * 1024
    max_receive_pdu_bytes: int = 128 * 1024  # announced to the peer; DCMTK's PDUs end here too
    max_send_pdu_bytes: int = 128 * 1024  # whatever more the peer would take
    min_peer_pdu_bytes: int = 128  # below, an answer would be nothing but headers
    max_contexts: int = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255
    max_command_bytes: int = 16 * 1024
    max_empty_fragments: int = 64  # in one message: they bring it no further
    max_data_set_bytes: int = 16 * 1024 * 1024  # of a data set that is kept in memory
    max_streamed_bytes: int = 8 * 1024 * 1024 * 1024  # of one that its service takes as it comes
    max_waiting_streams: int = 4  # of those, whole and waiting for their turn
    send_buffer_bytes: int = 64 * 1024  # answers are gathered up to this, then written at once
    max_answers_between_looks: int = 16  # for C-CANCEL-RQ


DEFAULTS = Limits()
