"""Puts into the wheel what `lifline init` copies: parts of this repository that are no modules."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "src"))


class WithRepository(build_py):
    """Builds `lifline.starter` with a folder `repository`."""

    def run(self) -> None:
        """Build, and copy."""
        from lifline.starter.repository import repository_files  # noqa: PLC0415 - from the folder above

        super().run()
        if not self.editable_mode:
            for path in repository_files(HERE):
                copy = Path(self.build_lib, "lifline/starter/repository", path.relative_to(HERE))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


setup(cmdclass={"build_py": WithRepository})
