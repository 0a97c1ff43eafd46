"""The menu of methods: every way to weigh members, a pure function of the statistics.

Conventions: a method is `(statistics, times) -> weights`. `times` (block,) float64 counts every
recording that many times (0 leaves it out), so the same method is run on all recordings, on a
fold's others, or on a bag; None counts each once. The result is (member,) float64, finite, summing
to 1, not negative except `ridge`'s. Members stand in the order of their trial ids and equal CCCs
(to 1e-12) go to the first; what is random is drawn over the sorted names of recordings and members
with a fixed seed, so results repeat and do not depend on an order. No method reads a frame, and
none fails on odd input: where no member's CCC is defined or none covaries with the annotation,
`best` (and with it the first member) is what is left. `times` without one labelled frame is the
caller's mistake: ValueError.

To add a method, write its function and put it into `METHODS`: a recipe's `method` is the function's
name, its options are the function's keyword-only arguments with their types and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from va_search.ensemble.simplex import Optimum, maximise_ccc, minimise, with_ridge
from va_search.ensemble.statistics import Indexes, Moments, SingleMoments, Statistics, Vector

Method = Callable[[Statistics, Vector | None], Vector]
TIE = 1e-12
"""CCCs that differ by less are equal."""
LIKELY = 32
"""Members whose covariances with all others are made together."""
STRENGTH = 0.1
"""Of the least squares that weights are shrunk toward; chosen by `benchmarks/do_no_harm.py`."""

AtLeastOne = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0, le=10_000)]
Bags = Annotated[int, Field(ge=1, le=1000)]
Seed = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def best(statistics: Statistics, times: Vector | None = None) -> Vector:
    """The single member with the highest CCC."""
    return top_members(statistics.alone(times), 1)


def mean(statistics: Statistics, times: Vector | None = None) -> Vector:
    """The plain mean of all members; `times` changes nothing."""
    return np.full(statistics.members, 1.0 / statistics.members)


def top_k(statistics: Statistics, times: Vector | None = None, *, k: AtLeastOne = 10) -> Vector:
    """The plain mean of the `k` members with the highest CCC."""
    return top_members(statistics.alone(times), k)


def greedy(
    statistics: Statistics,
    times: Vector | None = None,
    *,
    steps: Steps = 50,
    start: AtLeastOne = 1,
) -> Vector:
    """Greedy selection with replacement for `steps` steps, from the best mean of at most `start`
    top members; see `select_greedily`."""
    return select(statistics, times, steps, start)


def bagged_greedy(
    statistics: Statistics,
    times: Vector | None = None,
    *,
    bags: Bags = 20,
    steps: Steps = 50,
    start: AtLeastOne = 1,
    member_part: Fraction = 1.0,
    seed: Seed = 0,
) -> Vector:
    """The mean of `bags` greedy selections, each on a bootstrap sample of the recordings (Caruana
    et al. 2006).

    A bag draws as many recordings as there are, with replacement, among those that `times` counts,
    and may choose from a part of the members, drawn without replacement (1: all of them)."""
    # Drawn over sorted names, so that the order of recordings and members changes nothing.
    rng = np.random.default_rng(seed)
    drawn = _bags(statistics, times, bags, rng)
    by_name = np.argsort(np.array(statistics.labels), kind="stable")
    size = max(1, round(member_part * statistics.members))
    weights = np.zeros(statistics.members)
    if member_part < 1.0:
        for times_of_bag in drawn:
            members = np.sort(by_name[rng.permutation(statistics.members)[:size]])
            weights[members] += select(statistics.subset(members), times_of_bag, steps, start)
    elif statistics.pairs.at_hand:
        for moments in statistics.totals(drawn):
            weights += select_greedily(moments, steps, start)
    else:
        for times_of_bag in drawn:
            weights += select(statistics, times_of_bag, steps, start)
    return weights / bags


def exact(statistics: Statistics, times: Vector | None = None) -> Vector:
    """The weights with the highest CCC there is, not negative; see `optimum`."""
    return optimum(statistics.total(times)).weights


def ridge(
    statistics: Statistics, times: Vector | None = None, *, strength: Positive = 0.01
) -> Vector:
    """Least squares to the annotation with an intercept, scaled to sum 1; weights may be negative.
    Then match.

    (S + strength * trace(S)/M * I)^-1 c: only the direction is meant, moment matching finds scale
    and offset. Where the weights do not add up to something clearly positive there is no such
    scale: then as `nnls`."""
    moments = statistics.total(times)
    gram = _regular(moments, strength)
    if not np.diag(gram).min() > 0.0:
        return top_members(moments.alone, 1)
    weights = np.linalg.solve(gram, moments.with_label)
    # A sum near zero would blow the weights up, a negative one would turn their signs.
    total = float(weights.sum())
    if not total > 0.05 * float(np.abs(weights).sum()):
        return nnls(statistics, times, strength=strength)
    return np.asarray(weights / total, dtype=np.float64)


def nnls(
    statistics: Statistics, times: Vector | None = None, *, strength: NotNegative = 0.0
) -> Vector:
    """Least squares to the annotation with an intercept and weights that are not negative, scaled
    to sum 1. Then match.

    `strength` as in `ridge`. `best` where no member covaries with the annotation."""
    moments = statistics.total(times)
    weights = minimise(_regular(moments, strength), moments.with_label, sum_to_one=False)
    total = float(weights.sum())
    return weights / total if total > 0.0 else top_members(moments.alone, 1)


METHODS: dict[str, Callable[..., Vector]] = {
    method.__name__: method
    for method in (best, mean, top_k, greedy, bagged_greedy, exact, ridge, nnls)
}
"""Every method by its name in a recipe."""

TOWARD: dict[str, Method] = {"equal": mean, "nnls": partial(nnls, strength=STRENGTH)}
"""Methods that weights may be shrunk toward."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MethodOptions(Strict):
    """A method and its options."""

    method: str

    def weigh(self, statistics: Statistics, times: Vector | None = None) -> Vector:
        """(member,) weights."""
        options = self.model_dump(exclude={"method"})
        return METHODS[self.method](statistics, times, **options)


def options_of(method: Callable[..., Vector]) -> type[MethodOptions]:
    """A class of a method's options: its keyword-only arguments, with their types and defaults."""
    name = method.__name__
    options: dict[str, Any] = {"method": (Literal[name], name)}
    for parameter in inspect.signature(method, eval_str=True).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            options[parameter.name] = (parameter.annotation, parameter.default)
    return create_model(name, __base__=MethodOptions, **options)


OPTIONS = {name: options_of(method) for name, method in METHODS.items()}
"""The options of every method on the menu, from its signature."""


def top_members(moments: SingleMoments, count: int) -> Vector:
    """Equal weights on the `count` members with the highest CCC (all of them when there are
    fewer)."""
    return _equal_weights(ranking(moments.ccc_of_each())[:count], len(moments.mean))


def select(statistics: Statistics, times: Vector | None, steps: int, start: int = 1) -> Vector:
    """`select_greedily` on statistics; of many members only the covariances with those taken, and
    with some that may be next, are made."""
    if statistics.pairs.at_hand:
        return select_greedily(statistics.total(times), steps, start)
    return _select(statistics.alone(times), _RowsOnDemand(statistics, times), steps, start)


def select_greedily(moments: Moments, steps: int, start: int = 1) -> Vector:
    """Greedy selection with replacement (Caruana et al. 2004), O(members) per step.

    Sorted start: the plain mean of the N best members with N in 1..`start` that scores highest.
    Then, `steps` times, the member whose addition (again, perhaps) gives the highest CCC; at the
    end the path's best ensemble is used. Weights are counts over their sum."""
    return _select(moments.alone, _RowsAtHand(moments.covariance), steps, start)


def _select(alone: SingleMoments, rows: _Rows, steps: int, start: int) -> Vector:
    size = len(alone.mean)
    # Sorted start: the best of the plain means of the first 1, 2, … members.
    order = ranking(alone.ccc_of_each())[:start]
    of_start = rows.of(order)
    first = Moments(
        alone.frames,
        alone.mean[order],
        of_start[:, order],
        alone.with_label[order],
        alone.label_mean,
        alone.label_variance,
    )
    places = np.arange(len(order))
    means = [first.ccc(_equal_weights(places[: n + 1], len(order))) for n in places]
    best = first_highest(np.array(means))
    path = _GreedyPath(alone, rows, order[: best + 1], of_start[: best + 1], means[best])
    # Go on for all steps, and remember where the path was highest.
    length, highest = len(path.taken), path.ccc
    for _ in range(steps):
        path.take_next()
        if path.ccc > highest + TIE:
            length, highest = len(path.taken), path.ccc
    weights: Vector = np.bincount(path.taken[:length], minlength=size) / length
    return weights


def optimum(moments: Moments) -> Optimum:
    """The highest CCC on the simplex, with its weights and Karush-Kuhn-Tucker gap; started from the
    best member."""
    return maximise_ccc(moments, top_members(moments.alone, 1))


def ranking(ccc: Vector) -> Indexes:
    """Indexes of members from the highest CCC (member,) to the lowest; the earlier one first where
    they are equal, undefined ones last."""
    rounded = np.round(np.nan_to_num(ccc, nan=-np.inf) / TIE) * TIE
    return np.argsort(-rounded, kind="stable")


def first_highest(values: Vector) -> int:
    """Index of the first value that is equal to the highest, to 1e-12; NaN is the lowest."""
    values = np.nan_to_num(values, nan=-np.inf)
    return int(np.argmax(values >= values.max() - TIE))


def _equal_weights(members: Indexes, size: int) -> Vector:
    weights = np.zeros(size)
    weights[members] = 1.0 / len(members)
    return weights


class _Rows(Protocol):
    """Covariances of a member with all members."""

    def of(self, members: Indexes) -> Vector:
        """(len(members), member) covariances."""

    def twice(self, member: int, gains: Vector) -> Vector:
        """(member,) twice the covariances; `gains` (member,) say who may be asked for next."""


class _RowsAtHand:
    """Rows of a matrix."""

    def __init__(self, covariance: Vector) -> None:
        self._covariance = covariance
        self._twice = 2.0 * covariance

    def of(self, members: Indexes) -> Vector:
        rows: Vector = self._covariance[members]
        return rows

    def twice(self, member: int, gains: Vector) -> Vector:
        row: Vector = self._twice[member]
        return row


class _RowsOnDemand:
    """Rows that are made from the frames, those of likely members together."""

    def __init__(self, statistics: Statistics, times: Vector | None) -> None:
        self._statistics = statistics
        self._times = times
        self._known: dict[int, Vector] = {}

    def of(self, members: Indexes) -> Vector:
        missing = [member for member in members.tolist() if member not in self._known]
        if missing:
            rows = self._statistics.rows(np.array(missing), self._times)
            self._known |= dict(zip(missing, rows, strict=True))
        return np.stack([self._known[member] for member in members.tolist()])

    def twice(self, member: int, gains: Vector) -> Vector:
        if member not in self._known:
            # Who gains most now may be taken in one of the next steps.
            likely = np.argsort(-np.nan_to_num(gains, nan=-np.inf), kind="stable")[:LIKELY]
            self.of(np.union1d([member], likely))
        return 2.0 * self._known[member]


class _GreedyPath:
    """An ensemble that grows member by member, with the running sums that make a step O(members).

    A step is a few array operations in place and takes microseconds: thousands of selections are
    made for one ensemble. For k members taken whose sum has mean A (less the annotation's),
    variance V and covariance C with the annotation, the CCC is 2kC / (V + k²v + A²); with member j,
    V grows by `spread[j]` = var(j) + 2 cov(sum, j). `of_start`: (start, member) covariances."""

    def __init__(
        self, alone: SingleMoments, rows: _Rows, start: Indexes, of_start: Vector, ccc: float
    ) -> None:
        self.taken = start.tolist()
        self.rows = rows
        self.label_variance = alone.label_variance
        self.bias_of = alone.mean - alone.label_mean
        self.with_label_of = alone.with_label
        self.spread = alone.variance + 2.0 * of_start.sum(axis=0)
        self.bias = float(self.bias_of[start].sum())
        self.variance = float(of_start[:, start].sum())
        self.with_label = float(alone.with_label[start].sum())
        self.ccc = ccc
        self.above, self.below, self.square = np.empty((3, len(alone.mean)))

    def take_next(self) -> None:
        """Take the member, again perhaps, with which the CCC is highest."""
        size = len(self.taken) + 1
        # above / below is the CCC with each member, over 2 · size.
        np.add(self.bias_of, self.bias, out=self.square)
        np.multiply(self.square, self.square, out=self.square)
        np.add(self.spread, self.variance + size**2 * self.label_variance, out=self.below)
        np.add(self.below, self.square, out=self.below)
        np.add(self.with_label_of, self.with_label, out=self.above)
        # Only without variance of the annotation can there be nothing to divide by.
        if not self.label_variance > 0.0:
            self.below[self.below <= 0.0] = np.nan
        np.divide(self.above, self.below, out=self.above)
        highest = self.above[self.above.argmax()]
        if np.isnan(highest):  # a member without a CCC
            self.above = np.nan_to_num(self.above, nan=-np.inf)
            highest = self.above.max()
        member = int((self.above >= highest - TIE / (2 * size)).argmax())
        self.ccc = 2 * size * float(self.above[member])
        self.variance += float(self.spread[member])
        self.bias += float(self.bias_of[member])
        self.with_label += float(self.with_label_of[member])
        self.spread += self.rows.twice(member, self.above)
        self.taken.append(member)


def _bags(
    statistics: Statistics, times: Vector | None, bags: int, rng: np.random.Generator
) -> Vector:
    """(bag, block) how often each block counts in each bag; every bag has a labelled frame."""
    if times is None:
        times = np.ones(statistics.recordings)
    by_name = np.argsort(np.array(statistics.names), kind="stable")
    usable = by_name[(times * statistics.counts)[by_name] > 0.0]
    count = usable.size
    if not count:
        raise ValueError("at least one labelled frame is needed, but got none")
    drawn = np.zeros((bags, statistics.recordings))
    drawn[:, usable] = rng.multinomial(count, np.full(count, 1.0 / count), size=bags)
    return drawn * times


def _regular(moments: Moments, strength: float) -> Vector:
    """The covariance with `strength` times its mean diagonal, and never less than rounding needs,
    added to it."""
    size = len(moments.mean)
    added = max(strength, 1e-12) * float(np.trace(moments.covariance)) / size
    return with_ridge(moments.covariance, added)
