"""What a DICOM service class is to the upper layer."""

from typing import Protocol

from mwl.net.association import Association
from mwl.net.dimse import CommandField, Message


class Service(Protocol):
    """A DICOM service class as SCP.

    `abstract_syntaxes` are the SOP classes that it serves; `transfer_syntaxes` what it
    reads and writes, the best first; `operations` the requests that it knows.

    It may have `invokes` too: by SOP class, the transfer syntaxes in which it invokes
    operations on who asked, as C-GET does of the storage classes. Of the SOP classes in
    `theirs_first`, the compressed transfer syntax that the requestor names first is agreed on.
    With `receive(association, context, command)` it may give a `Sink` for a request's data
    set, which then comes to `handle` as `message.sink`. `options` are those of its queries
    that it supports.
    """

    @property
    def abstract_syntaxes(self) -> tuple[str, ...]: ...

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]: ...

    @property
    def operations(self) -> frozenset[CommandField]: ...

    def handle(self, association: Association, message: Message) -> None:
        """Perform one request, up to its final response."""
