"""Predicting from an ensemble's weights: on stores from the command line, on tables as a model that
MLflow serves."""
