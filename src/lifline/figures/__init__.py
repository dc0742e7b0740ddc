"""Figures as PNGs."""

from lifline.system.extras import require

require(__name__, "pipeline")
