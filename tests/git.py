"""Repositories for tests."""

import os
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """What a git command says in a folder, where the committer is somebody."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def change_unseen_by_git(path: Path, old: str, new: str) -> None:
    """Commit a file to a new repository and change it, so that the index has its time and size, and the old content.

    `dvc exp run -S` leaves params.yaml so, where both are written within a second and its size stays.
    """
    folder = path.parent
    for command in (["init", "--quiet"], ["config", "core.trustctime", "false"], ["add", path.name]):
        git(folder, *command)
    git(folder, "commit", "--quiet", "--message", "start")
    os.utime(path, (1e9, 1e9))
    git(folder, "status")  # takes note of the time
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, (1e9, 1e9))
    assert git(folder, "status", "--porcelain", "-uno") == ""
