"""Training: backpropagation through time with a surrogate gradient."""

from lifline.system.extras import require

require(__name__, "pipeline")
