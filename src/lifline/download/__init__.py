"""Where data sets come from: published ones, and the user's own."""

from lifline.system.extras import require

require(__name__, "pipeline")
