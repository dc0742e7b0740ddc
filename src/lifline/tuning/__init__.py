"""Studies: Optuna searches params by training on the training split and scoring on the validation split."""

from lifline.system.environment import STUDIES, settle
from lifline.system.extras import require

require(__name__, "tuning")
settle(STUDIES)  # before matplotlib and Ray are imported
