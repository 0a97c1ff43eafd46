"""One trial: its settings, loss, schedules and the training loop."""
