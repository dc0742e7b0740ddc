"""Studies: Optuna searches params by training on the training split and scoring on the validation split."""
