"""The DICOM upper layer (PS3.8) and the message exchange (PS3.7), as an acceptor.

From the wire upwards, each module knowing only those before it:

- `limits`: every bound on a peer, in one value.
- `pdu`: what the protocol data units are. `codec`: bytes to them and back.
- `status`, `dimse`: command sets, and messages put together from fragments.
- `outgoing`: a message of any length, as writes of bounded length.
- `negotiation`: a proposal and what we support, to an answer. Pure.
- `oddities`, `options`: what a proposal gets wrong, and what it may ask of a query.
- `admission`: who asks for an association, and what the application says to it.
- `framing`: a socket as a stream of PDUs, with time-outs.
- `errands`: what waits to be done on an association between the peer's messages.
- `association`: one peer, from its first message to release or abort.
- `acceptor`: a connection, from its first byte to an association or a refusal.
- `server`: the listening socket, the threads, the table of live associations.
"""
