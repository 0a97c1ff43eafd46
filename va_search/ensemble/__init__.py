"""Ensembles per target from the prediction bank. NumPy and SciPy (Matplotlib for pictures): no
torch, no Ray."""
