"""Where things lie: the outputs of the stages, and the repository that owns the stores."""

import os
from pathlib import Path

from lifline.errors import LiflineError

DATA = Path("data/images.safetensors")
MODEL = Path("models/model.safetensors")
ONNX_MODEL = Path("models/model.onnx")
FORMATS = Path("models/formats")
MODEL_CARD = Path("models/model_card.md")
TRAIN_METRICS = Path("reports/train.json")
LOSS = Path("reports/loss.csv")
EVALUATION = Path("reports/evaluation.json")
TEST_METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
FIRING_RATES = Path("reports/firing_rates.csv")
FIGURES = Path("reports/figures")
EXPORT_REPORT = Path("reports/export.json")


def repository_root() -> Path:
    """The repository that owns the stores: `DVC_ROOT` where DVC sets it, since `dvc exp run --temp` works in a copy.

    Raises:
        LiflineError: there is none, as of `working_copy`.
    """
    return Path(os.environ["DVC_ROOT"]) if "DVC_ROOT" in os.environ else working_copy()


def working_copy() -> Path:
    """The nearest folder upwards with a `dvc.yaml`: its params, presets and data are those that are meant.

    Raises:
        LiflineError: there is no such folder.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise LiflineError(f"{here} is not inside a lifline repository: no dvc.yaml here or above")
