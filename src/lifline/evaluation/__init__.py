"""What a network does with a data set."""

from lifline.system.extras import require

require(__name__, "pipeline")
