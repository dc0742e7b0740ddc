"""Predictions: from a picture to a class, in a terminal, over HTTP and on a page."""

from lifline.system.extras import require

require(__name__, "serving", "pipeline")
