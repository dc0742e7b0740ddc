"""`python -m lifline.stage NAME` runs pipeline/NAME.py, and ends in a line where libraries are still loaded, too."""

import os
import runpy
import sys
from pathlib import Path

from lifline.command import run_stage
from lifline.errors import LiflineError

SCRIPTS = Path("pipeline")


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
        os.utime("params.yaml")  # `dvc exp run -S` leaves it as unchanged in git's eyes, where its size is as before
    sys.path[0] = str(SCRIPTS.resolve())
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


if __name__ == "__main__":
    run_stage(main)
