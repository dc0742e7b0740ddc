"""Ports of this machine, for this machine alone."""

import errno
import os
import socket

from lifline.errors import LiflineError

HOST = "127.0.0.1"
MAX_PORT = 65_535


def listen(port: int) -> socket.socket:
    """A socket of this machine's own, with a port; for 0, a free one.

    Raises:
        LiflineError: there is no such port, or it cannot be had.
    """
    if not 0 <= port <= MAX_PORT:
        raise LiflineError(f"port is {port}; allowed is a whole number from 0 to {MAX_PORT}")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {os.strerror(error.errno or 0)}"
        raise LiflineError(f"port {port} {reason}; --port takes another") from None
