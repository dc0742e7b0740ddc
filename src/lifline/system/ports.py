"""Ports of this machine, by default for this machine alone."""

import errno
import ipaddress
import os
import socket

from lifline.errors import LiflineError

HOST = "127.0.0.1"
MAX_PORT = 65_535


def is_own(host: str) -> bool:
    """Whether an IPv4 address is reached from this machine alone.

    Raises:
        LiflineError: it is no such address.
    """
    return _address(host).is_loopback


def listen(port: int, host: str = HOST) -> socket.socket:
    """A socket with a port, for 0 a free one, at an address of this machine.

    Raises:
        LiflineError: there is no such port or address, or it cannot be had.
    """
    address = str(_address(host))
    if not 0 <= port <= MAX_PORT:
        raise LiflineError(f"port is {port}; allowed is a whole number from 0 to {MAX_PORT}")
    try:
        return socket.create_server((address, port))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise LiflineError(f"host is {host}; allowed is an address of this machine, or 0.0.0.0 for all") from None
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {os.strerror(error.errno or 0)}"
        raise LiflineError(f"port {port} {reason}; --port takes another") from None


def _address(host: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        raise LiflineError(f"host is {host}; allowed is an IPv4 address of this machine, or 0.0.0.0 for all") from None
