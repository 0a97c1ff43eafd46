"""Several people's annotations of one recording: one annotation out of them, how far they agree,
and their spread on each frame.

Conventions: a matrix is (frames, raters) on the target's scale, NaN where a rater has no label. A
frame takes those raters who labelled it.

mean    the mean of the raters
ewe     the evaluator-weighted estimator (Grimm and Kroschel, "Evaluation of natural emotions using
        self assessment manikins", ASRU 2005): x(n) = sum_k r_k x_k(n) / sum_k r_k, where r_k is the
        correlation of rater k with the mean of the other raters over the recording, and 0 where
        that is negative or undefined. (The paper correlates with the mean of all, which has the
        rater's own noise in it.) Where no rater agrees with the others it is the mean.

spread  the weighted standard deviation of the raters whose labels make a frame's annotation, w_k
        their weights: s^2 = sum_k w_k (x_k - x)^2 / (sum_k w_k - sum_k w_k^2 / sum_k w_k). Weights
        that are equal make it the sample's (divided by raters - 1): frames that two raters labelled
        and those of six have the same expected spread. NaN for fewer than two raters.

A store keeps spreads in raters.arrow: for each target `<target>.spread` (float32) and
`<target>.raters` (int16, the raters whose labels make the annotation, 0 without a label), a record
batch per recording. A target without raters of its own has NaN and 1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.data.arrays import Floats, Indexes, Values
from va_search.files import whole_file
from va_search.metrics import ccc

LEAST = 3
"""Frames that two raters must share for a correlation."""

RatedFrames = tuple[Values, NDArray[np.integer]]
"""(frames, targets) spread of the raters, and their number."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of a recording's raters on one target: means over pairs of raters of the CCC and of
    Pearson's r, None where no pair has one; the weight of each rater, which sum to 1."""

    raters: int
    ccc: float | None
    r: float | None
    weights: dict[str, float]


@dataclass(frozen=True)
class Ratings:
    """The raters of one recording: (frames, targets) `spread` of those who make a frame's label,
    NaN for fewer than two, and `raters`, their number; `agreements` by target, of the targets that
    have several raters."""

    spread: Floats
    raters: Indexes
    agreements: dict[str, Agreement]

    @classmethod
    def of_one(cls, annotations: Values) -> Ratings:
        """Return those of (frames, targets) labels which nobody else gave."""
        return cls(np.full(annotations.shape, np.nan), np.isfinite(annotations).astype(int), {})


@dataclass(frozen=True)
class Traces:
    """The labels of one target in one recording: `matrix` (frames, raters), the raters' names (none
    where the recording lacks the target), and how they are fused, None for a single annotation."""

    matrix: Floats
    names: list[str]
    fuse: str | None


def fuse_targets(targets: Mapping[str, Traces], frames: int) -> tuple[Floats, Ratings]:
    """(frames, targets) annotations of a recording, NaN where it has none, and its ratings."""
    annotations = np.full((frames, len(targets)), np.nan)
    spread = annotations.copy()
    raters = np.zeros(annotations.shape, dtype=np.int64)
    agreements = {}
    for column, (target, traces) in enumerate(targets.items()):
        if not traces.names:
            continue
        matrix = traces.matrix
        annotations[:, column] = matrix[:, 0]
        raters[:, column] = np.isfinite(matrix[:, 0])
        if traces.fuse is not None:
            annotations[:, column], weights = fuse(matrix, traces.fuse)
            spread[:, column], raters[:, column] = spread_of(matrix, weights)
            agreements[target] = agreement(matrix, weights, traces.names)
    return annotations, Ratings(spread, raters, agreements)


def fuse(matrix: Floats, how: str) -> tuple[Floats, Floats]:
    """(frames,) one annotation of (frames, raters), NaN where no rater labelled; (raters,) weights
    that sum to 1."""
    raters = matrix.shape[1]
    weights = np.full(raters, 1 / raters)
    if how == "ewe":
        agreeing = ewe_weights(matrix)
        if agreeing.sum() > 0:
            weights = agreeing / agreeing.sum()
    # A frame that some raters left out has the weights of the others alone.
    labelled = np.isfinite(matrix)
    total = (labelled * weights).sum(axis=1)
    # Frames that only raters without weight labelled have no label.
    sums = (np.where(labelled, matrix, 0.0) * weights).sum(axis=1)
    annotation = np.full(len(matrix), np.nan)
    np.divide(sums, total, out=annotation, where=total > 0)
    return annotation, weights


def spread_of(matrix: Floats, weights: Floats) -> tuple[Floats, Indexes]:
    """(frames,) spread of (frames, raters) with the (raters,) weights, NaN for fewer than two
    raters; (frames,) number of raters who have a label and a weight."""
    counted = np.isfinite(matrix) & (weights > 0)
    squares = np.zeros(len(matrix))
    shares = np.zeros(len(matrix))
    # Half the mean square of the differences of two raters is the formula above: no small number
    # comes of two large ones.
    for k, j in combinations(range(matrix.shape[1]), 2):
        both = counted[:, k] & counted[:, j]
        share = weights[k] * weights[j]
        squares[both] += share * (matrix[both, k] - matrix[both, j]) ** 2
        shares[both] += share
    spread = np.full(len(matrix), np.nan)
    np.divide(squares, 2 * shares, out=spread, where=shares > 0)
    return np.sqrt(spread), counted.sum(axis=1)


def ewe_weights(matrix: Floats) -> Floats:
    """(raters,) correlation of each rater with the mean of the others, 0 where negative."""
    raters = matrix.shape[1]
    weights = np.zeros(raters)
    for rater in range(raters):
        others = np.delete(matrix, rater, axis=1)
        counts = np.isfinite(others).sum(axis=1)
        mean = np.full(len(matrix), np.nan)
        np.divide(np.nansum(others, axis=1), counts, out=mean, where=counts > 0)
        r = correlation(matrix[:, rater], mean)
        if r is not None:
            weights[rater] = max(r, 0.0)
    return weights


def correlation(a: Floats, b: Floats) -> float | None:
    """Pearson's r over the frames that both have; None for too few, or where one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < LEAST:
        return None
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else None


def agreement(matrix: Floats, weights: Floats, names: list[str]) -> Agreement:
    """Agreement of the raters `names` of (frames, raters)."""
    correlations, concordances = [], []
    for first, second in combinations(range(matrix.shape[1]), 2):
        a, b = matrix[:, first], matrix[:, second]
        both = np.isfinite(a) & np.isfinite(b)
        r = correlation(a, b)
        if r is not None:
            correlations.append(r)
        concordance = float("nan") if both.sum() < LEAST else ccc(a[both], b[both])
        if np.isfinite(concordance):
            concordances.append(concordance)
    return Agreement(
        matrix.shape[1],
        float(np.mean(concordances)) if concordances else None,
        float(np.mean(correlations)) if correlations else None,
        dict(zip(names, weights.tolist(), strict=True)),
    )


def ratings_schema(targets: Sequence[str]) -> pa.Schema:
    """Return the columns of raters.arrow."""
    fields = []
    for target in targets:
        fields.append(pa.field(f"{target}.spread", pa.float32()))
        fields.append(pa.field(f"{target}.raters", pa.int16()))
    return pa.schema(fields)


def write_ratings(path: Path, targets: Sequence[str], parts: Iterable[RatedFrames]) -> str:
    """Write raters.arrow, whole, from the (frames, targets) spread and raters of one recording
    after another; their hash."""
    schema = ratings_schema(targets)
    sha = hashlib.sha256()
    with whole_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
        with pa.ipc.new_file(sink, schema) as writer:
            for spread, raters in parts:
                arrays = []
                for column in range(len(targets)):
                    arrays.append(pa.array(spread[:, column], pa.float32(), from_pandas=False))
                    arrays.append(pa.array(raters[:, column], pa.int16()))
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                sha.update(_bytes_of(spread, raters))
    return sha.hexdigest()


def hash_of_ratings(parts: Iterable[RatedFrames]) -> str:
    """The hash that `write_ratings` makes of the same parts."""
    sha = hashlib.sha256()
    for spread, raters in parts:
        sha.update(_bytes_of(spread, raters))
    return sha.hexdigest()


def _bytes_of(spread: Values, raters: NDArray[np.integer]) -> bytes:
    """The bytes of (frames, targets) spread and raters, frame by frame, every NaN alike."""
    values = np.nan_to_num(np.concatenate([spread, raters], axis=1, dtype=np.float32), nan=1e30)
    return values.tobytes()
