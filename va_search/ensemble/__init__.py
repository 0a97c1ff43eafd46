"""Ensembles per dimension from the prediction bank. NumPy and SciPy (Matplotlib for pictures): no
torch, no Ray."""
