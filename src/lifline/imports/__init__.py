"""Networks of other libraries' become models of lifline's."""

from lifline.system.extras import require

require(__name__, "pipeline")
