"""Starting a repository of one's own."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from lifline.errors import LiflineError
from lifline.starter.pin import changed_files, extract_committed, pin
from lifline.system.signals import signals_held_off

COPIED = (
    ".dvc/config",
    ".dvc/plots/*",
    ".dvcignore",
    "data/*/dataset.yaml",
    "data/.gitignore",
    "dvc.yaml",
    "models/.gitignore",
    "params.yaml",
    "pipeline/*.py",
    "presets/*.yaml",
    "reports/.gitignore",
    "requirements.lock",
)
"""Of lifline's own repository, as committed; a wheel has them, too."""

UNFINISHED = ".unfinished"


def repository_files(root: Path) -> list[Path]:
    """What is copied of lifline's own repository."""
    return [path for pattern in COPIED for path in sorted(root.glob(pattern))]


def start_repository(folder: Path) -> str:
    """Make a folder a repository of git and DVC with the pipeline, for one's own images; returns what to do next.

    It is made aside and moved into its place at last.

    Raises:
        LiflineError: the folder is not empty, lifline cannot be pinned, or git is missing or fails.
    """
    if folder.exists() and (not folder.is_dir() or set(os.listdir(folder)) - {UNFINISHED}):
        raise LiflineError(f"{folder} is not empty; allowed is a new folder, or an empty one")
    if shutil.which("git") is None:
        raise LiflineError("git is not installed; a repository needs it")
    with as_file(files("lifline.starter")) as package, TemporaryDirectory() as committed:
        checkout = None if (package / "repository").is_dir() else package.parents[2]
        requirement = pin(distribution("lifline"), checkout)
        if checkout:
            _warn_of_changes(checkout, folder)
            extract_committed(checkout, COPIED, Path(committed))
        _make(folder, package, Path(committed) if checkout else package / "repository", requirement)
    return f"{folder} is a repository of its own: {folder / 'README.md'} says how to go on"


def _warn_of_changes(checkout: Path, folder: Path) -> None:
    """Tell whose changes are left out, since what is committed is copied and pinned."""
    if changed := changed_files(checkout, ["src/lifline/**", *COPIED]):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        print(f"warning: your changes to {changed[0]}{more} are not committed, and so not in {folder}", file=sys.stderr)


def _make(folder: Path, package: Path, source: Path, requirement: str) -> None:
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    _run("git", "init", "--quiet", folder=unfinished)
    _run(sys.executable, "-m", "dvc", "init", "--quiet", folder=unfinished)
    _write(unfinished, package / "files", source)
    (unfinished / "requirements.txt").write_text(f"-c constraints.txt\n{requirement}\n")
    with signals_held_off():
        for path in list(unfinished.iterdir()):
            path.rename(folder / path.name)
        unfinished.rmdir()


def _write(folder: Path, own_files: Path, source: Path) -> None:
    for path in repository_files(source):
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for path in own_files.iterdir():
        shutil.copyfile(path, folder / path.name.replace("gitignore", ".gitignore"))
    (folder / "dvc.yaml").write_text(_of_an_installed_lifline((folder / "dvc.yaml").read_text()))
    lock = folder / "requirements.lock"
    (folder / "constraints.txt").write_text(_without_hashes(lock.read_text()))
    lock.unlink()


def _of_an_installed_lifline(dvc_yaml: str) -> str:
    """DVC's stages where lifline is no folder beside them: they depend on the requirements in place of its code."""
    stages = re.sub(r"# PYTHONPATH: .*\n", "", dvc_yaml).replace("PYTHONPATH=src ", "")
    first = re.compile(r"(?m)^( *- (?:\.\./)?)src/lifline/.*\n(?:^ *- (?:\.\./)?src/lifline/.*\n)*")
    return first.sub(r"\1constraints.txt\n\1requirements.txt\n", stages)


def _without_hashes(lock: str) -> str:
    """The versions of a lock; pip asks for a hash of everything where anything has one, and lifline's own has none."""
    return "".join(f"{line.removesuffix(chr(92)).rstrip()}\n" for line in lock.splitlines() if line[:1].isalnum())


def _run(*command: str, folder: Path) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    try:
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise LiflineError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None
