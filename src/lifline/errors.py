"""The kinds of errors that a user can mend."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # PyTorch's words on a GPU and on the CPU


class LiflineError(Exception):
    """A problem the user can mend; its message is one line that names thing, value and what is allowed."""


class ParamsError(LiflineError):
    """`params.yaml` is missing, malformed or holds a value that is not allowed."""


class DataError(LiflineError):
    """A data set cannot be obtained, or is not what it should be."""


class ModelError(LiflineError):
    """A model file is missing, damaged, or not the one that is asked for."""


class TrainingError(LiflineError):
    """Training cannot start or cannot go on."""


class TuningError(LiflineError):
    """A study cannot be found, made or read."""


class PictureError(LiflineError):
    """A picture is missing, damaged, too large, or does not hold one thing to classify."""


class RegistryError(LiflineError):
    """A version of the registered model cannot be found, or may not be the champion."""


class SettingError(LiflineError, ValueError):
    """An environment variable of lifline's has a value that is not allowed."""


class TrackingError(LiflineError):
    """MLflow cannot be reached or refuses what it is given."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or the device has too little memory."""
    return isinstance(error, MemoryError) or any(phrase in str(error) for phrase in OUT_OF_MEMORY)
