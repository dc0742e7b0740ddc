"""The tags by which runs and models are known."""

MODEL_TAG = "model_sha256"
"""Of the model that a run trained, evaluated or exported; on a registered version, too."""

EXPORT_TAG = "export_sha256"
RECIPE_TAG = "recipe"
SEEDS_TAG = "recipe_sha256"
STUDY_TAG = "study"
TRIAL_TAG = "trial"
REPEATS_TRIAL_TAG = "repeats_trial"
FAILURE_TAG = "failure"
WARNINGS_TAG = "warnings"
"""What is wrong with a training, a line each, as after its latest epoch."""

DESCRIPTION_TAG = "mlflow.note.content"
"""MLflow's own, which its UI shows as Markdown."""

HOLDER_TAG = "holder."
"""Followed by the name of a process that holds the run; its value is the run's status if that dies, and its host."""

DATA_SHAPE_TAG = "data_shape"
DATA_CLASSES_TAG = "data_classes"
"""Of an image, as 1x28x28, and how many there are."""
