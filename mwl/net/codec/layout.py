"""How PDUs and their items are laid out (PS3.8 section 9.3, PS3.7 annex D.3.3)."""

from struct import Struct

HEADER = Struct(">BxI")  # type, length of what follows
ITEM = Struct(">BxH")  # type, length of what follows
VALUE = Struct(">IBB")  # length of what follows, context id, message control header

ASSOCIATE = Struct(">H2x16s16s32s")
VERDICT = Struct(">xBBB")  # A-ASSOCIATE-RJ and A-ABORT
CONTEXT = Struct(">BxBx")
LENGTH = Struct(">H")
WINDOW = Struct(">HH")
MAX_LENGTH = Struct(">I")

# Item types: PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3.
APPLICATION_CONTEXT = 0x10
PROPOSED_CONTEXT = 0x20
ANSWERED_CONTEXT = 0x21
ABSTRACT_SYNTAX = 0x30
TRANSFER_SYNTAX = 0x40
USER_INFORMATION = 0x50
MAXIMUM_LENGTH = 0x51
IMPLEMENTATION_UID = 0x52
ASYNCHRONOUS = 0x53
ROLE = 0x54
IMPLEMENTATION_VERSION = 0x55
EXTENDED = 0x56
COMMON_EXTENDED = 0x57  # has no answer (PS3.7 D.3.3.6), and is skipped
USER_IDENTITY = 0x58
IDENTITY_RESPONSE = 0x59

# PS3.8 E.2: bits of the message control header.
COMMAND = 0x01
LAST = 0x02
