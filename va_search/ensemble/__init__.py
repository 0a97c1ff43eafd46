"""Ensembles per dimension from the prediction bank. NumPy and SciPy only: no torch, no Ray."""
