"""DIMSE status codes by name, each with its clause."""

SUCCESS = 0x0000  # PS3.7 C.1.1
CANCEL = 0xFE00  # PS3.7 C.1.3: matching terminated due to C-CANCEL-RQ
PENDING = 0xFF00  # PS3.7 C.1.2; PS3.4 table K.4-1
PENDING_UNSUPPORTED_KEYS = 0xFF01  # PS3.4 table K.4-1: an optional key was not supported

REFUSED_OUT_OF_RESOURCES = 0xA700  # PS3.4 table K.4-1
IDENTIFIER_DOES_NOT_MATCH = 0xA900  # PS3.4 table K.4-1
UNABLE_TO_PROCESS = 0xC001  # PS3.4 table K.4-1: Cxxx

NOT_AUTHORIZED = 0x0124  # PS3.7 C.5: the peer may associate, but not perform this
NO_SUCH_SOP_CLASS = 0x0118  # PS3.7 C.5.14, of DIMSE-N
REFUSED_SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5.6 ff., of DIMSE-C
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 C.5.19
