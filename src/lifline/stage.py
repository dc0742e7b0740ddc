"""`python -m lifline.stage NAME` runs pipeline/NAME.py, and ends in a line where libraries are still loaded, too."""

import os
import runpy
import sys
import time
from contextlib import suppress
from pathlib import Path

from lifline.command import run_stage
from lifline.errors import LiflineError

SCRIPTS = Path("pipeline")
SECOND = 10**9
"""In nanoseconds."""


def main() -> None:
    """Run the script that is named.

    Raises:
        LiflineError: there is no such script.
    """
    names = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    name = " ".join(sys.argv[1:])
    if name not in names:
        raise LiflineError(f"stage is {name!r}; allowed is one of {', '.join(names) or 'pipeline/*.py here'}")
    if "DVC_EXP_NAME" in os.environ:
        _show_as_changed(Path("params.yaml"))
    sys.path[0] = str(SCRIPTS.resolve())
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def _show_as_changed(path: Path) -> None:
    """Date a file into another second: `dvc exp run -S` may leave a change of it as none in git's eyes."""
    now, written = time.time_ns(), path.stat().st_mtime_ns
    with suppress(PermissionError):  # of another's file
        os.utime(path, ns=(now, max(now, written + SECOND)))


if __name__ == "__main__":
    run_stage(main)
