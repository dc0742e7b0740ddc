"""MLflow: the only package that imports it."""

from lifline.system.environment import MLFLOW, settle
from lifline.system.extras import require

require(__name__, "pipeline")
settle(MLFLOW)  # before it is imported
