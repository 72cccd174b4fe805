"""What every server of ours says about the address it listens on."""

from typing import Final

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Above the default body cap (50 MiB) plus framing: the body cap must be what refuses, not the transport."""


class AddressInUseError(Exception):
    """The address cannot be listened on; the message is one line for the user."""
