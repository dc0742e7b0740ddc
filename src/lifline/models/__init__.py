"""Networks as files: from params, to a file and back, and over a data set."""

from lifline.system.extras import require

require(__name__, "pipeline")
