"""The concordance correlation coefficient (CCC), as the challenge's evaluation defines it.

Conventions: arrays are (frames,) or (frames, 2) with valence first; NaN in an annotation means
unlabelled and is left out; NaN in a prediction is never left out silently, it makes the result NaN.
Variances and covariance are population ones (divide by n), and frames of all recordings are pooled
before anything is computed (Lin 1989)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = ("valence", "arousal")


def ccc(prediction: NDArray[np.floating], annotation: NDArray[np.floating]) -> float:
    """Pooled CCC: 2 cov(p, y) / (var p + var y + (mean p - mean y)^2), computed in float64.

    Both arrays (frames,). Fewer than one labelled frame, or no variance on either side with equal
    means: NaN."""
    if prediction.shape != annotation.shape:
        raise ValueError(
            f"shapes must be equal, but got prediction {prediction.shape}, annotation {annotation.shape}"
        )
    labelled = ~np.isnan(annotation)
    p = prediction[labelled].astype(np.float64)
    y = annotation[labelled].astype(np.float64)
    if p.size == 0:
        return float("nan")
    return ccc_from_moments(
        mean_p=float(p.mean()),
        mean_y=float(y.mean()),
        var_p=float(p.var()),
        var_y=float(y.var()),
        covariance=float(((p - p.mean()) * (y - y.mean())).mean()),
    )


def ccc_from_moments(
    *, mean_p: float, mean_y: float, var_p: float, var_y: float, covariance: float
) -> float:
    """CCC from the five population moments; NaN where the denominator is zero."""
    denominator = var_p + var_y + (mean_p - mean_y) ** 2
    return 2.0 * covariance / denominator if denominator > 0.0 else float("nan")


def score(valence: float, arousal: float) -> float:
    """The challenge's score: mean of the two CCCs."""
    return (valence + arousal) / 2.0
