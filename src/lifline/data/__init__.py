"""Data sets: as values, on disk, in memory, in batches, distorted."""

from lifline.system.extras import require

require(__name__, "pipeline", "serving")
