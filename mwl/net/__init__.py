"""The DICOM upper layer (PS3.8) and the message exchange (PS3.7), as acceptor and requestor.

From the wire upwards, each module knowing only those before it:

- `limits`: every bound on a peer, in one value.
- `pdu`: what the protocol data units are. `codec`: bytes to them and back.
- `status`, `dimse`: command sets, and messages put together from fragments.
- `messages`, `outgoing`: requests and responses, as writes of bounded length.
- `oddities`, `options`: what a proposal gets wrong, and what it may ask of a query.
- `negotiation`: a proposal and what we support, to an answer. Pure.
- `admission`: who asks for an association, and what the application says to it.
- `framing`: a socket as a stream of PDUs, with time-outs. `pace`: those of a whole message.
- `ending`, `releasing`: the last words on a connection, whoever says them (states 7 to 13).
- `errands`: what waits to be done on an association between the peer's messages.
- `association`: one peer, from the first message to release or abort; both sides' (state 6).
- `requestor`: an association that we ask for (state 5).
- `service`, `serving`: a peer's requests, each handed to the service of its context.
- `acceptor`: a connection, from its first byte to an association or a refusal.
- `server`: the listening sockets, the threads, the table of live associations.
"""
