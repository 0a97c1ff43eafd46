"""Weights of frames in the loss by the agreement of their raters.

A frame's label is the mean of n raters; where these have a spread s, its variance is s^2 / n. Frames
weigh in inverse proportion to the variance of what a model can't know (Aitken, "On least squares
and linear combination of observations", Proc. R. Soc. Edinburgh 55, 1935): that of the label and
the model's own, for which the label's usual variance stands:

    weight = 1 / (1 + (e / e0)^2),   e = s / sqrt(n),   e0 the median e of the training frames

With as many raters on every frame, e / e0 is the spread by its median. A frame on which raters agree
weighs 1, the usual frame 1/2, and so does a frame with one rater, whose spread is not known.

Conventions: weights are (frames, targets) or (steps, targets), each target's own; they hold in the
loss alone, validation counts all frames alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Floats
from va_search.data.store import Recording, Store, positions

USUAL = 0.5
"""Weight of a frame whose raters have the usual spread, or whose spread is not known."""


def agreement_weights(store: Store, recordings: tuple[Recording, ...]) -> NDArray[np.float32]:
    """(frames, targets) weights of the frames of training recordings, NaN where a target has no
    label. The store keeps raters: see `spread_problem`."""
    frames = positions(recordings)
    errors = _standard_errors(store, recordings)
    weights = np.full(errors.shape, USUAL)
    for column, error in enumerate(errors.T):
        known = np.isfinite(error)
        # Raters who write the same number many times over would make a median of 0.
        differing = error[known & (error > 0)]
        if differing.size:
            weights[known, column] = 1 / (1 + (error[known] / np.median(differing)) ** 2)
    weights[np.isnan(store.annotations[frames])] = np.nan
    return weights.astype(np.float32)


def _standard_errors(store: Store, recordings: tuple[Recording, ...]) -> Floats:
    """(frames, targets) standard errors of labels, NaN where the raters' spread is not known."""
    assert store.spread is not None
    assert store.raters is not None
    frames = positions(recordings)
    raters = np.maximum(store.raters[frames], 1)
    errors: Floats = store.spread[frames].astype(np.float64) / np.sqrt(raters)
    return errors


def spread_problem(store: Store, recordings: tuple[Recording, ...]) -> str | None:
    """The reason for which frames of these training recordings can't be weighted; None where they
    can."""
    if store.spread is None:
        return (
            f"{store.path}: weight_by_agreement weighs frames by the spread of their raters, and "
            "this store keeps none; import labels of several raters again, or leave "
            "weight_by_agreement out"
        )
    if np.isnan(store.spread[positions(recordings)]).all():
        return (
            f"{store.path}: weight_by_agreement weighs frames by the spread of their raters, and "
            f"no frame of the {len(recordings)} training recordings has labels of two raters; "
            "leave weight_by_agreement out"
        )
    return None
