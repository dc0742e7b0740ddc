"""What made a run: code, experiment and libraries."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from mlflow.tracking.context.default_context import DefaultRunContext
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from lifline.tracking.holders import temporary_folder

LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime", "mlflow", "dvc")


def origin_tags(holder: str) -> dict[str, str]:
    """As tags, MLflow's own of user, program and commit included."""
    names = {"dvc_stage": "DVC_STAGE", "dvc_exp_name": "DVC_EXP_NAME"}
    return {
        **DefaultRunContext().tags(),
        "kernels": os.environ.get("LIFLINE_KERNELS", "fused"),
        **{tag: value for tag, name in names.items() if (value := os.environ.get(name))},
        **_git_tags(holder),
        "version.python": platform.python_version(),
        **{f"version.{library}": version(library) for library in LIBRARIES},
    }


def _git_tags(holder: str) -> dict[str, str]:
    """The commit, and whether code or params differ from it; what the pipeline itself writes does not count."""
    outputs = [":(exclude)dvc.lock", ":(exclude)reports"]
    commit = _git("rev-parse", "HEAD")
    with temporary_folder(holder) as folder:  # an index of its own: DVC's experiments leave changed params as clean
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        _git("read-tree", "HEAD", **index)
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *outputs, **index)
    if commit is None or changes is None:
        return {}
    return {MLFLOW_GIT_COMMIT: commit, "git_commit": commit, "git_dirty": str(bool(changes)).lower()}


def _git(*arguments: str, **environment: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
