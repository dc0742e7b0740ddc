"""Ways out for a trained network, each proven against it."""

from lifline.system.extras import require

require(__name__, "pipeline")
