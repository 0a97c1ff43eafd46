"""Moment matching: scale and shift predictions so that their mean and variance are the
annotation's.

An average of models varies less than the annotation, and the CCC punishes that. For predictions p
with correlation r to the annotation y, CCC(s·p + o) is highest at s = sd(y) / sd(p) and o = mean(y)
− s·mean(p), where it is r (Lin 1989; for r > 0): closed form from four moments, which never look at
the covariance.

Conventions: population moments, any shape. A prediction or an annotation without variance can't be
matched and is left alone: scale 1, offset 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
SMALLEST = 1e-12
"""Variances below so much of the larger one are rounding."""


def matching(
    mean_p: Vector, var_p: Vector, mean_y: Vector | float, var_y: Vector | float
) -> tuple[Vector, Vector]:
    """(scale, offset) that give the predictions mean and variance of the annotation; (1, 0) where
    there is none."""
    possible = (var_p > SMALLEST * var_y) & (var_y > SMALLEST * var_p)
    ratio = np.divide(var_y, var_p, out=np.ones(np.broadcast(var_p, var_y).shape), where=possible)
    scale = np.sqrt(ratio)
    offset: Vector = np.where(possible, mean_y - scale * mean_p, 0.0)
    return scale, offset
