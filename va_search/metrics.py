"""The concordance correlation coefficient (CCC), as the challenge's evaluation defines it.

Conventions: arrays are (frames,) or (frames, targets); NaN in an annotation means
unlabelled and is left out; NaN in a prediction is never left out silently, it makes the result NaN.
Variances and covariance are population ones (divide by n), and frames of all recordings are pooled
before anything is computed (Lin 1989)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64] | float


def ccc(prediction: NDArray[np.floating], annotation: NDArray[np.floating]) -> float:
    """Pooled CCC of two arrays (frames,), computed in float64.

    NaN with no labelled frame, or with no variance on either side and equal means."""
    if prediction.shape != annotation.shape:
        raise ValueError(
            f"shapes must be equal, but got prediction {prediction.shape}, annotation {annotation.shape}"
        )
    labelled = ~np.isnan(annotation)
    p = prediction[labelled].astype(np.float64)
    y = annotation[labelled].astype(np.float64)
    if p.size == 0:
        return float("nan")
    covariance = ((p - p.mean()) * (y - y.mean())).mean()
    return float(ccc_from_moments(covariance, p.var(), y.var(), p.mean() - y.mean()))


def ccc_from_moments(
    covariance: Values, variance: Values, label_variance: Values, bias: Values
) -> NDArray[np.float64]:
    """CCC from population moments, of any shape: 2 cov / (var p + var y + (mean p − mean y)²).

    `bias` is mean p − mean y. NaN where the denominator is zero."""
    denominator = np.asarray(variance + label_variance + bias**2)
    result: NDArray[np.float64] = np.full(denominator.shape, np.nan)
    np.divide(2.0 * covariance, denominator, out=result, where=denominator > 0.0)
    return result
