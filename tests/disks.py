"""Disks that are full or read-only, for one process alone."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000  # of <sched.h>; os.unshare is Python 3.12's
FILL = "(cat /dev/zero 2>/dev/null > $1/filler; true)"


def disk(folder: str, size: str = "4m", prepare: str = FILL) -> Callable[[], None]:
    """What a process calls first that is to have a disk of its own at a folder, prepared by a shell command."""
    return partial(_mount, folder, size, prepare)


def _mount(folder: str, size: str, prepare: str) -> None:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for name, content in {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}.items():
        Path("/proc/self", name).write_text(content)
    Path(folder).mkdir(exist_ok=True)
    mounted = f'mount -t tmpfs -o size={size} tmpfs "$1" && {prepare}'
    subprocess.run(["sh", "-c", mounted, "sh", folder], check=True)
