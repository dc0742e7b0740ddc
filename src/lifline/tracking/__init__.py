"""MLflow: the only package that imports it."""

from lifline.system.environment import MLFLOW, settle

settle(MLFLOW)  # before it is imported
