"""Quadratic programs with nonnegative unknowns, and the weights with the highest CCC over the
simplex.

Conventions: a quadratic is given by its Gram matrix (positive semidefinite) and its linear part:
minimise w'Gw/2 - g.w over w >= 0, with or without sum(w) = 1. The solver is a primal active-set
method (Lawson & Hanson 1974, in the Gram form of Bro & De Jong 1997) that takes up many members at
a time; equal members share. The CCC is a ratio of a linear and a convex quadratic function,
pseudo-concave where the covariance with the annotation is positive: Dinkelbach's iterations (1967),
each one quadratic program, reach its one maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.statistics import Moments, Vector

Mask = NDArray[np.bool_]
GAP = 1e-12
"""Stationarity asked for, relative to the largest term of the gradient."""
MANY = 64
"""Members taken up at a time, as long as that lowers the value; then one by one."""
SMALLEST = 1e-14
"""A gap in CCC that is nothing but rounding."""
RISE = 1e-13
"""A rise of the CCC that is worth going on for although the gap did not shrink."""
RIDGE = 1e-13
"""Added to the Gram matrix's diagonal, relative to its largest element, so that equal members can
be solved for."""


@dataclass(frozen=True)
class Optimum:
    """`weights` (member,) on the simplex, their `ccc`, and how far from optimal they can be.

    `gap`: the largest gain in CCC, to first order, of moving weight to any one member
    (Karush-Kuhn-Tucker: 0 at the optimum). `iterations` of Dinkelbach; 0 where no member covaries
    with the annotation and `weights` are `start`."""

    weights: Vector
    ccc: float
    gap: float
    iterations: int


def maximise_ccc(moments: Moments, start: Vector, *, iterations: int = 50) -> Optimum:
    """The weights on the simplex with the highest CCC, from the feasible `start`.

    Where no member's covariance with the annotation is positive there is nothing to gain: `start`
    comes back."""
    if not moments.with_label.max() > 0.0:
        return Optimum(start, moments.ccc(start), 0.0, 0)
    bias = moments.mean - moments.label_mean
    gram = moments.covariance + np.outer(bias, bias)
    weights = start
    if not moments.with_label @ start > 0.0:
        # Dinkelbach needs a start with a positive CCC.
        weights = np.zeros(len(start))
        weights[int(np.argmax(moments.with_label))] = 1.0
    ccc, done = moments.ccc(weights), 0
    gap = kkt_gap(moments, weights, ccc)
    while gap > SMALLEST and done < iterations:
        done += 1
        # The ratio's maximum is where numerator − CCC · denominator / 2 has its maximum at the CCC.
        solution = minimise(gram * ccc, moments.with_label, start=weights)
        solution_ccc = moments.ccc(solution)
        solution_gap = kkt_gap(moments, solution, solution_ccc)
        if solution_gap >= gap and solution_ccc <= ccc + RISE:
            break
        weights, ccc, gap = solution, solution_ccc, solution_gap
    return Optimum(weights, ccc, gap, done)


def kkt_gap(moments: Moments, weights: Vector, ccc: float) -> float:
    """The rise of the `ccc` of the weights, to first order, by moving all weight toward the best
    member; 0 at an optimum on the simplex."""
    bias = moments.mean - moments.label_mean
    spread = moments.covariance @ weights + bias * float(bias @ weights)
    denominator = float(weights @ spread) + moments.label_variance
    if not denominator > 0.0:
        return 0.0
    slope = 2.0 * (moments.with_label - ccc * spread) / denominator
    return max(0.0, float(slope.max() - weights @ slope))


def minimise(
    gram: Vector, linear: Vector, *, start: Vector | None = None, sum_to_one: bool = True
) -> Vector:
    """w >= 0, with sum 1 unless `sum_to_one` is false, that minimises w'Gw/2 - g.w.

    `start`: feasible weights to start from; the nearer, the faster. Without it: the member with the
    highest gain."""
    size = len(linear)
    tiny = float(np.finfo(float).tiny)
    gram = with_ridge(gram, RIDGE * max(float(np.diag(gram).max()), tiny))
    weights = np.zeros(size) if start is None else start.copy()
    if sum_to_one and not weights.any():
        weights[int(np.argmin(np.diag(gram) / 2.0 - linear))] = 1.0
    used = weights > 0.0
    tolerance = GAP * max(float(np.abs(linear).max()), float(np.abs(np.diag(gram)).max()), tiny)
    lowest, many = np.inf, MANY
    for _ in range(3 * size + 30):
        weights, level = _settle(gram, linear, weights, used, sum_to_one)
        pull = gram[:, used] @ weights[used]
        # (member,) by how much the value falls, to first order, with a member that is not used yet
        gain = np.where(used, -np.inf, linear - pull - level)
        if used.all() or gain.max() <= tolerance:
            break
        value = float(weights @ pull) / 2.0 - float(linear @ weights)
        if value >= lowest:
            if many == 1:  # nothing but rounding is left
                break
            many = 1
        lowest = value
        taken_up = np.argsort(-gain, kind="stable")[:many]
        used[taken_up[gain[taken_up] > tolerance]] = True
    return weights


def with_ridge(gram: Vector, added: float) -> Vector:
    """Return a copy of the matrix with so much added to its diagonal."""
    regular = gram.copy()
    np.einsum("ii->i", regular)[:] += added
    return regular


def _settle(
    gram: Vector, linear: Vector, weights: Vector, used: Mask, sum_to_one: bool
) -> tuple[Vector, float]:
    """Optimal weights among the `used` members, dropping (in place) those that would turn negative;
    and the level, the constraint's multiplier."""
    level = 0.0
    while used.any():
        members = np.flatnonzero(used)
        target, level = _solve(gram[np.ix_(members, members)], linear[members], sum_to_one)
        moved, out = _until_zero(weights[members], target)
        weights = np.zeros(len(linear))
        weights[members] = moved
        if not out.any():
            break
        used[members[out]] = False
    return weights, level


def _until_zero(weights: Vector, target: Vector) -> tuple[Vector, Mask]:
    """Go from `weights` toward `target` until the first falling weight is zero; the weights there,
    and a mask of the ones that fell out by then."""
    falling = target <= 0.0
    if not falling.any():
        return target, falling
    # The part of the way at which each falling weight is zero.
    steps = np.full(len(weights), np.inf)
    fall = np.maximum(weights[falling] - target[falling], np.finfo(float).tiny)
    steps[falling] = weights[falling] / fall
    step = float(steps.min())
    out = falling & (steps <= step)
    moved = np.maximum(weights + min(step, 1.0) * (target - weights), 0.0)
    moved[out] = 0.0
    return moved, out


def _solve(gram: Vector, linear: Vector, sum_to_one: bool) -> tuple[Vector, float]:
    """The minimum without w >= 0, and the multiplier of sum(w) = 1 (0 without it)."""
    if not sum_to_one:
        return _solved(gram, linear), 0.0
    both = _solved(gram, np.stack([linear, np.ones(len(linear))], axis=1))
    level = (both[:, 0].sum() - 1.0) / both[:, 1].sum()
    return both[:, 0] - level * both[:, 1], float(level)


def _solved(gram: Vector, right: Vector) -> Vector:
    try:
        return np.asarray(np.linalg.solve(gram, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(gram, right, rcond=None)[0], dtype=np.float64)
