"""Studies: Optuna searches params by training on the training split and scoring on the validation split."""

from lifline.system.environment import STUDIES, settle

settle(STUDIES)  # before matplotlib and Ray are imported
