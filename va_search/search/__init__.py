"""The search over trials: space, plan, study, trial. Ray Tune and Optuna live here and nowhere
else."""
