"""Is an ensemble better than its best single trial? One verdict for the terminal, `submit` and the
report.

Conventions: everything is out-of-fold. The best single trial is the best one per dimension, which
is what the recipe `best` takes; it is chosen again in every fold, as the ensemble is. A difference
is within chance where its paired 95 % interval holds 0. Ensembles saved by an earlier version have
no such interval: there chance is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from va_search.ensemble.saved import Difference, Ensemble, Spread
from va_search.metrics import DIMENSIONS
from va_search.trial import ALL

Outcome = Literal["better", "ahead", "same", "behind", "worse", "unknown"]
"""Ahead and behind are within chance; better and worse are not."""
SAME = 1e-9
"""A smaller difference is none."""
FOLLOWS, FOLLOWS_A_LITTLE = 0.3, 0.1
"""Median correlations within a recording from which on a model is said to follow time, or to follow
it a little."""


@dataclass(frozen=True)
class Verdict:
    """The ensemble's score against the best single trial's, and one sentence that says what it
    means.

    `use_best`: whether the recipe `best` is the better choice. `dimensions`: each dimension's
    outcome."""

    outcome: Outcome
    ensemble: float | None
    best_single: float | None
    difference: float | None
    interval: tuple[float, float] | None
    dimensions: dict[str, Outcome]
    text: str

    @property
    def use_best(self) -> bool:
        return self.outcome in ("behind", "worse")

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "use_best": self.use_best}


def verdict_of(ensemble: Ensemble) -> Verdict:
    """The verdict on a saved ensemble; `unknown`, with the reason, where it has no out-of-fold
    score."""
    scores, single = ensemble.scores.get("out_of_fold"), ensemble.best_single.get("out_of_fold")
    what = "configuration" if ensemble.measured_on.fold == ALL else "trial"
    if not scores or not single:
        reason = ensemble.measured_on.reason or "there is no out-of-fold score"
        return _unknown(
            f"Whether this ensemble is better than a single {what} is not known: {reason}."
        )
    return judge(scores, single, ensemble.differences, what=what)


def judge(
    scores: Mapping[str, float],
    single: Mapping[str, float],
    differences: Mapping[str, Difference] | None,
    *,
    who: str = "this ensemble",
    what: str = "trial",
) -> Verdict:
    """The verdict on out-of-fold scores {valence, arousal, score} against those of the best single
    trial."""
    outcomes = {
        name: _outcome(scores[name], single[name], differences, name)
        for name in (*DIMENSIONS, "score")
    }
    difference = (differences or {}).get("score")
    value = scores["score"] - single["score"]
    interval = None if difference is None else difference.interval
    outcome = outcomes["score"]
    return Verdict(
        outcome=outcome,
        ensemble=scores["score"],
        best_single=single["score"],
        difference=value,
        interval=interval,
        dimensions={name: outcomes[name] for name in DIMENSIONS},
        text=_sentence(outcome, (scores["score"], single["score"]), interval, who, what),
    )


def _unknown(text: str) -> Verdict:
    nothing: dict[str, Outcome] = dict.fromkeys(DIMENSIONS, "unknown")
    return Verdict("unknown", None, None, None, None, nothing, text)


def _outcome(
    score: float, single: float, differences: Mapping[str, Difference] | None, name: str
) -> Outcome:
    difference = (differences or {}).get(name)
    value = score - single
    if not math.isfinite(value):
        return "unknown"
    if abs(value) < SAME:
        return "same"
    certain = (
        difference is not None
        and difference.interval is not None
        and _excludes_zero(difference.interval)
    )
    if value > 0.0:
        return "better" if certain else "ahead"
    return "worse" if certain else "behind"


def _excludes_zero(interval: tuple[float, float]) -> bool:
    low, high = interval
    return low > 0.0 or high < 0.0


def _sentence(
    outcome: Outcome,
    scores: tuple[float, float],
    interval: tuple[float, float] | None,
    who: str,
    what: str,
) -> str:
    """`scores`: of the ensemble and of the best single trial."""
    if outcome == "unknown":
        return f"Whether {who} is better than the best single {what} is not known: a CCC is not defined."
    score, single = scores
    best = f"the best single {what} per target"
    if outcome == "same":
        return (
            f"On unseen people {who} is as good as {best}: score {score:.3f} out-of-fold for both."
        )
    chance = ", but chance is not known: build it again"
    if interval is not None:
        chance = (
            ", within chance" if outcome in ("ahead", "behind") else ", more than chance explains"
        )
    between = "" if interval is None else f" (95 % {signed(interval[0])} to {signed(interval[1])})"
    numbers = f"score {score:.3f} against {single:.3f}, difference {signed(score - single)}{between}{chance}"
    comparison = {
        "better": "better than",
        "ahead": "not certainly better than",
        "behind": "not better than",
        "worse": "worse than",
    }[outcome]
    advice = "" if outcome in ("better", "ahead") else "; use --recipe best"
    return f"On unseen people {who} is {comparison} {best}: {numbers}{advice}."


def signed(value: float) -> str:
    """A difference with its sign, in three digits."""
    text = f"{value:+.3f}"
    return text.replace("-", "−")


def within_recordings(dimension: str, pooled: float | None, spread: Spread) -> str:
    """What the scores of single recordings mean, in one sentence: is time followed within a
    recording?"""
    correlation = spread.correlation
    if spread.median is None or pooled is None:
        return ""
    if correlation is None:
        return (
            f"{dimension}: a median CCC near 0 beside a high pooled CCC means that the ensemble tells recordings apart "
            "and does not follow time within one"
        )
    r = f"median correlation {correlation:.2f}"
    if correlation < FOLLOWS_A_LITTLE:
        return (
            f"{dimension}: within a recording the ensemble does not follow time ({r}); its pooled CCC of {pooled:.3f} "
            "comes from telling recordings apart"
        )
    if correlation < FOLLOWS:
        return f"{dimension}: within a recording the ensemble follows time a little ({r})"
    level = "" if spread.median > correlation / 2 else ", but often at another level or scale"
    return f"{dimension}: within a recording the ensemble follows time ({r}){level}"
