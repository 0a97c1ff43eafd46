"""Search strategies replayed on trainings that were recorded once: hours of tuning in seconds."""
