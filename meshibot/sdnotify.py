"""Tells systemd how the daemon is: ready, alive, stopping (sd_notify(3)). Does nothing where nobody asked."""

import os
import socket
from contextlib import suppress


def tell(*said: str) -> None:
    """Send states such as `READY=1` or `WATCHDOG=1` to `$NOTIFY_SOCKET`; `@` begins an abstract name.

    What can't be sent is not sent: the daemon posts all the same.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.settimeout(1.0)
        to.sendto("\n".join(said).encode(), f"\0{address[1:]}" if address[0] == "@" else address)
