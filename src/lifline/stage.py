"""`python -m lifline.stage NAME` runs pipeline/NAME.py, and ends in a line where libraries are still loaded, too."""

import runpy
import sys

from lifline.command import run_stage


def main() -> None:
    """Run the script that is named, as Python would."""
    runpy.run_path(f"pipeline/{sys.argv[1]}.py", run_name="__main__")


if __name__ == "__main__":
    run_stage(main)
