"""What a recipe may say: the methods' options, and what every method shares (pruning, shrinking,
finishing).

Conventions: options are named as `weigh`'s keyword arguments (but `member_part`, since `members`
says who may be one). Where a list of candidates stands, one of them is chosen out-of-fold, on the
recordings the weights are chosen on; the first in the list wins ties, and is taken where there are
too few folds to choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from va_search.ensemble import weigh

Match = Literal[True, False, "partial"]
SHRINKS = [0.5, 0.0, 0.25, 0.75, 1.0]
"""Candidates of `shrink: auto`."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Options(Strict):
    """A method and its options."""

    method: str

    @property
    def weigh(self) -> weigh.Method:
        """The method with its options fixed: (statistics, each) -> weights."""
        return partial(weigh.METHODS[self.method], **self.model_dump(exclude={"method"}))


class Best(Options):
    """The single member with the highest CCC."""

    method: Literal["best"] = "best"


class Mean(Options):
    """The plain mean of all members."""

    method: Literal["mean"] = "mean"


class TopK(Options):
    """The plain mean of the `k` members with the highest CCC."""

    method: Literal["top_k"] = "top_k"
    k: Annotated[int, Field(ge=1)] = 10


class Greedy(Options):
    """Greedy selection with replacement for `steps` steps, from the best mean of at most `start`
    top members."""

    method: Literal["greedy"] = "greedy"
    steps: Annotated[int, Field(ge=0, le=10_000)] = 50
    start: Annotated[int, Field(ge=1)] = 1


class BaggedGreedy(Options):
    """The mean of `bags` greedy selections on resampled recordings, each from a random part of the
    members."""

    method: Literal["bagged_greedy"] = "bagged_greedy"
    bags: Annotated[int, Field(ge=1, le=1000)] = 20
    steps: Annotated[int, Field(ge=0, le=10_000)] = 50
    start: Annotated[int, Field(ge=1)] = 1
    member_part: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def weigh(self) -> weigh.Method:
        given = self.model_dump(exclude={"method", "member_part"})
        return partial(weigh.METHODS[self.method], members=self.member_part, **given)


class Exact(Options):
    """The weights with the highest CCC there is, not negative, summing to 1."""

    method: Literal["exact"] = "exact"


class Ridge(Options):
    """Least squares to the annotation, weights may be negative; for use with matching."""

    method: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01


class Nnls(Options):
    """Least squares to the annotation with weights that are not negative; for use with matching."""

    method: Literal["nnls"] = "nnls"
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


OPTIONS: dict[str, type[Options]] = {
    "best": Best,
    "mean": Mean,
    "top_k": TopK,
    "greedy": Greedy,
    "bagged_greedy": BaggedGreedy,
    "exact": Exact,
    "ridge": Ridge,
    "nnls": Nnls,
}
"""The options of every method on the menu, `weigh.METHODS`."""


def _listed(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


def _amounts(given: Any) -> Any:
    return SHRINKS if given == "auto" else _listed(given)


def _whether(given: Any) -> Any:
    return [True, False] if given == "auto" else _listed(given)


def _nothing(given: Any) -> Any:
    return None if given == "none" else given


class Prune(Strict):
    """Keep the `top` members by CCC, of one encoder and of one combination of feature sets at most
    so many.

    `helpful`: only those whose CCC is more than its standard error above 0, which is what a
    constant has (worth.py)."""

    top: Annotated[int, Field(ge=1)] | None = None
    per_encoder: Annotated[int, Field(ge=1)] | None = None
    per_features: Annotated[int, Field(ge=1)] | None = None
    helpful: bool = False


class Smooth(Strict):
    """Smoothing of the weighted sum: candidates of its window, in seconds; 0 smooths nothing."""

    kind: Literal["moving_average", "savitzky_golay"] = "moving_average"
    seconds: Annotated[
        list[Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]],
        Field(min_length=1),
        BeforeValidator(_listed),
    ]


class Delay(Strict):
    """Candidates of how much later predictions are moved, in seconds; negative: earlier."""

    seconds: Annotated[
        list[Annotated[float, Field(ge=-60, le=60, allow_inf_nan=False)]],
        Field(min_length=1),
        BeforeValidator(_listed),
    ]


class Shared(Strict):
    """What a recipe says beside its method, for any method.

    `match_members`: scale and shift each member to the annotation's mean and variance before
    anything is chosen. `toward`: what `shrink` goes toward, of `weigh.TOWARD`."""

    match_members: bool = False
    prune: Prune = Prune()
    shrink: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]],
        Field(min_length=1, max_length=20),
        BeforeValidator(_amounts),
    ] = [0.0]
    toward: Literal["equal", "nnls"] = "equal"
    match: Annotated[list[Match], Field(min_length=1, max_length=3), BeforeValidator(_whether)] = [
        False
    ]
    smooth: Annotated[Smooth | None, BeforeValidator(_nothing)] = None
    delay: Annotated[Delay | None, BeforeValidator(_nothing)] = None


@dataclass(frozen=True)
class Filter:
    """One way to smooth and delay."""

    smoothing: Literal["none", "moving_average", "savitzky_golay"] = "none"
    window_seconds: float = 0.0
    delay_seconds: float = 0.0

    @property
    def changes(self) -> bool:
        return (self.smoothing != "none" and self.window_seconds > 0.0) or self.delay_seconds != 0.0


@dataclass(frozen=True)
class Plan:
    """How one dimension is built."""

    options: Options
    shared: Shared = field(default_factory=Shared)

    @property
    def method(self) -> str:
        return self.options.method

    @property
    def filters(self) -> list[Filter]:
        """Every candidate of smoothing and delay together, in the order of the lists."""
        smooth, delay = self.shared.smooth, self.shared.delay
        windows: list[tuple[Any, float]] = [("none", 0.0)]
        if smooth is not None:
            windows = [
                (smooth.kind, seconds) if seconds else ("none", 0.0) for seconds in smooth.seconds
            ]
        delays = [0.0] if delay is None else delay.seconds
        return [Filter(kind, seconds, later) for kind, seconds in windows for later in delays]

    def document(self) -> dict[str, Any]:
        """Plain data: the method, its options, and what it shares with others."""
        return {**self.options.model_dump(mode="json"), **self.shared.model_dump(mode="json")}
