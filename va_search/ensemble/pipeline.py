"""From members to an ensemble in five steps: prune → weigh → shrink → smooth → match.

`Pipeline` is what a recipe says of one target: a method with its options (methods.py) and what
all methods share. Where a list of candidates stands, one of them is chosen out-of-fold, on the
recordings the weights are chosen on; the first in the list wins ties, and is taken where there are
too few folds to choose. The first three steps give weights; the last two are a `PostProcessing` of
the weighted sum, whose scale and offset are matched on its sums (`sums.match`).

Conventions: one target at a time; `times` as in methods.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from va_search.ensemble import methods
from va_search.ensemble.methods import AtLeastOne, MethodOptions, Strict
from va_search.ensemble.post_processing import PostProcessing, Smoothing
from va_search.ensemble.statistics import Indexes, MemberSums, Statistics, Vector
from va_search.ensemble.sums import ccc_and_worth, helping

if TYPE_CHECKING:
    from va_search.trial import Trial

Match = Literal[True, False, "partial"]
SHRINKS = [0.5, 0.0, 0.25, 0.75, 1.0]
"""Candidates of `shrink: auto`."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _shrinks(value: Any) -> Any:
    return _as_list(SHRINKS if value == "auto" else value)


def _matches(value: Any) -> Any:
    return _as_list([True, False] if value == "auto" else value)


def _none(value: Any) -> Any:
    return None if value == "none" else value


Amount = Annotated[float, Field(ge=0, le=1)]
Window = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Lateness = Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)]


class Prune(Strict):
    """Keep the `top` members by CCC, of one encoder and of one combination of feature sets at most
    so many.

    `helpful`: only those whose CCC is more than its standard error above 0, which is what a
    constant has (`sums.ccc_and_worth`)."""

    top: AtLeastOne | None = None
    per_encoder: AtLeastOne | None = None
    per_features: AtLeastOne | None = None
    helpful: bool = False


class Smooth(Strict):
    """Smoothing of the weighted sum: candidates of its window, in seconds; 0 smooths nothing."""

    kind: Literal["moving_average", "savitzky_golay"] = "moving_average"
    seconds: Annotated[list[Window], Field(min_length=1), BeforeValidator(_as_list)]


class Delay(Strict):
    """Candidates of how much later predictions are moved, in seconds; negative: earlier."""

    seconds: Annotated[list[Lateness], Field(min_length=1), BeforeValidator(_as_list)]


class SharedOptions(Strict):
    """Options that a recipe gives beside its method, for any method.

    `match_members`: scale and shift each member to the annotation's mean and variance before
    anything is chosen. `toward`: what `shrink` goes toward, of `methods.TOWARD`."""

    match_members: bool = False
    prune: Prune = Prune()
    shrink: Annotated[list[Amount], BeforeValidator(_shrinks)] = Field(
        [0.0], min_length=1, max_length=20
    )
    toward: Literal["equal", "nnls"] = "equal"
    match: Annotated[list[Match], BeforeValidator(_matches)] = Field(
        [False], min_length=1, max_length=3
    )
    smooth: Annotated[Smooth | None, BeforeValidator(_none)] = None
    delay: Annotated[Delay | None, BeforeValidator(_none)] = None


@dataclass(frozen=True)
class Pipeline:
    """Options of each step, for one target."""

    options: MethodOptions
    shared: SharedOptions

    @property
    def method(self) -> str:
        return self.options.method

    @property
    def prunes(self) -> bool:
        """True where not all members are weighed."""
        return self.shared.prune != Prune()

    @property
    def filters(self) -> list[PostProcessing]:
        """Every candidate of smoothing and delay together, in the order of the lists."""
        smooth, delay = self.shared.smooth, self.shared.delay
        windows: list[tuple[Smoothing, float]] = [("none", 0.0)]
        if smooth is not None:
            windows = [(smooth.kind if s else "none", s) for s in smooth.seconds]
        delays = [0.0] if delay is None else delay.seconds
        return [PostProcessing(*window, seconds) for window, seconds in product(windows, delays)]

    def weights(
        self,
        statistics: Statistics,
        times: Vector | None,
        candidates: Sequence[Trial],
        groups: Sequence[Sequence[int]],
    ) -> Vector:
        """(member, shrink) weights after pruning, weighing and each candidate of shrinkage;
        arguments as in `members`."""
        members = self.members(statistics, times, candidates, groups)
        return self.weights_of(members, statistics, times)

    def members(
        self,
        statistics: MemberSums,
        times: Vector | None,
        candidates: Sequence[Trial],
        groups: Sequence[Sequence[int]],
    ) -> Indexes:
        """Indexes of the members that are weighed, after pruning.

        `times` (block,) counts the recordings; `groups` of blocks are independent of each other."""
        limits, matched = self.shared.prune, self.shared.match_members
        return prune(statistics, times, candidates, limits, matched=matched, groups=groups)

    def weights_of(self, members: Indexes, statistics: Statistics, times: Vector | None) -> Vector:
        """(member, shrink) weights of all members, chosen among these."""
        pruned = statistics.subset(members)
        # Weigh, perhaps members on one scale; weights are then brought back to members as they are.
        scale = np.ones(len(members))
        if self.shared.match_members:
            pruned, scale = pruned.matched(times)
        weights = _unscaled(self.options.weigh(pruned, times), scale)
        toward = _unscaled(methods.TOWARD[self.shared.toward](pruned, times), scale)
        # Shrink, once for each candidate.
        shrunk = np.zeros((statistics.members, len(self.shared.shrink)))
        for column, amount in enumerate(self.shared.shrink):
            shrunk[members, column] = shrink(weights, toward, amount)
        return shrunk

    def unhelpful(self, statistics: MemberSums, groups: Sequence[Sequence[int]]) -> list[int]:
        """Indexes of the members that `prune: {helpful: true}` leaves out, on all recordings; none
        without it."""
        if not self.shared.prune.helpful:
            return []
        matched = self.shared.match_members
        ccc, worth = ccc_and_worth(statistics, None, groups, matched=matched)
        return np.flatnonzero(~helping(ccc, worth)).tolist()

    def document(self) -> dict[str, Any]:
        """Plain data: the method, its options, and what it shares with others."""
        return {**self.options.model_dump(mode="json"), **self.shared.model_dump(mode="json")}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Pipeline:
        """The pipeline whose `document` this is."""
        shared = {
            key: value for key, value in document.items() if key in SharedOptions.model_fields
        }
        own = {key: value for key, value in document.items() if key not in shared}
        options = methods.OPTIONS[document["method"]].model_validate(own)
        return cls(options, SharedOptions.model_validate(shared))


def prune(
    statistics: MemberSums,
    times: Vector | None,
    candidates: Sequence[Trial],
    limits: Prune,
    *,
    matched: bool = False,
    groups: Sequence[Sequence[int]] = (),
) -> Indexes:
    """Indexes of the members that are weighed at all: from the highest CCC to the lowest, while
    there is room.

    `matched`: by the CCC that members have once they are scaled and shifted to the annotation's
    mean and variance. `groups` of blocks, over which it is judged what helps. Pruning looks at the
    annotation through the CCC: where a score is to be honest, it is redone inside each fold with
    that fold's `times`. A model from elsewhere, whose encoder and feature sets are not known, only
    counts toward `top`. At least the best member is always kept."""
    if limits == Prune():
        return np.arange(statistics.members)
    judged = groups if limits.helpful else ()
    ccc, worth = ccc_and_worth(statistics, times, judged, matched=matched)
    order = methods.ranking(ccc)
    if limits.helpful:
        helps = helping(ccc, worth)
        # Where nobody helps, the best is what is left.
        order = order[helps[order]] if helps.any() else order[:1]
    # From the best to the worst, a member comes in while there is room for what it shares.
    room = {"encoder": limits.per_encoder, "features": limits.per_features}
    used: Counter[tuple[str, Hashable]] = Counter()
    members: list[int] = []
    for member in order.tolist():
        if len(members) == limits.top:
            break
        shared = _shared(candidates[member])
        full = [key for key in shared if used[key] == room[key[0]]]
        if not full:
            members.append(member)
            used.update(shared)
    return np.sort(np.array(members, dtype=np.intp))


def _shared(candidate: Trial) -> list[tuple[str, Hashable]]:
    """(kind, value) of what a candidate may share with others; feature sets count as equal in any
    order."""
    settings = candidate.noted_settings or {}
    shared: list[tuple[str, Hashable]] = []
    if settings.get("encoder") is not None:
        shared.append(("encoder", settings["encoder"]))
    if settings.get("features") is not None:
        shared.append(("features", tuple(sorted(settings["features"]))))
    return shared


def shrink(weights: Vector, toward: Vector, amount: float) -> Vector:
    """`amount` (0..1) of the way from `weights` to the weights `toward`."""
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"0 <= amount <= 1 must hold, but got {amount:g}")
    shrunk: Vector = (1.0 - amount) * weights + amount * toward
    return shrunk


def _unscaled(weights: Vector, scale: Vector) -> Vector:
    """The weights of members as they are, from those of members times `scale`; they sum to 1
    again."""
    weights = weights * scale
    unscaled: Vector = weights / weights.sum()
    return unscaled
