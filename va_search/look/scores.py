"""Scores, sparkline and worst moment of one recording's prediction against its annotation.

Conventions: arrays are (frames,), NaN where there is no label or no prediction; such frames are left
out. Moments are population ones, in float64, as in `metrics`. A score that is not defined, such as
the spread against a constant annotation, is None."""

from __future__ import annotations

import math

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.metrics import ccc

SPARKS = 48
"""Points of a sparkline."""
SPARK_DIGITS = 4
WORST_SECONDS = 10.0


def scores_of(prediction: Values, annotation: Values) -> dict[str, float | None] | None:
    """CCC, RMSE, bias (mean of prediction less annotation) and spread (standard deviation of the
    prediction by that of the annotation) of one recording; None without a frame that has both."""
    compared = ~np.isnan(prediction) & ~np.isnan(annotation)
    if not compared.any():
        return None
    predicted = prediction[compared].astype(np.float64)
    labels = annotation[compared].astype(np.float64)
    errors = predicted - labels
    deviation = float(labels.std())
    # Against a constant annotation no prediction has a spread.
    spread = None
    if deviation > 0.0:
        spread = float(predicted.std()) / deviation
    concordance: float | None = ccc(predicted, labels)
    if concordance is not None and math.isnan(concordance):
        concordance = None
    return {
        "ccc": concordance,
        "rmse": math.sqrt(float((errors**2).mean())),
        "bias": float(errors.mean()),
        "spread": spread,
    }


def sparkline(values: Values) -> list[float | None]:
    """Means over at most 48 equal parts of a recording, None where a part has no value."""
    points: list[float | None] = []
    parts = min(SPARKS, len(values))
    bounds = np.linspace(0, len(values), parts + 1).astype(np.int64).tolist()
    for part in range(parts):
        inside = values[bounds[part] : bounds[part + 1]]
        present = inside[~np.isnan(inside)]
        if not present.size:
            points.append(None)
            continue
        # A few digits are more than a small picture shows, and keep the list's file small.
        mean = float(present.mean(dtype=np.float64))
        points.append(float(f"{mean:.{SPARK_DIGITS}g}"))
    return points


def worst_moment(prediction: Values, annotation: Values, seconds: Floats) -> int | None:
    """First frame of the ten seconds with the largest sum of squared errors; None without a frame
    that has both a label and a prediction. `seconds`: of each frame, in order."""
    errors = (prediction.astype(np.float64) - annotation.astype(np.float64)) ** 2
    if np.isnan(errors).all():
        return None
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(errors))])
    ends = np.searchsorted(seconds, seconds + WORST_SECONDS, side="left")
    # A window that would run over the end says less than the last whole one.
    last_whole = int(np.searchsorted(ends, len(seconds), side="left"))
    starts = np.arange(min(last_whole, len(seconds) - 1) + 1)
    return int(np.argmax(sums[ends[starts]] - sums[starts]))
