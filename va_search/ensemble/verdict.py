"""Is an ensemble better than its best single trial, and than baselines that nobody had to train? One
verdict for the terminal, `submit` and the report.

Conventions: everything is out-of-fold. The best single trial is the best one per target, which is
what the recipe `best` takes; it is chosen again in every fold, as the ensemble is. A difference
is within chance where its paired 95 % interval holds 0. Ensembles saved by an earlier version have
no such interval: there chance is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from va_search.data.baselines import TITLES
from va_search.ensemble.bootstrap import Difference, Interval, RecordingSpread
from va_search.ensemble.saved import Ensemble, MeasuredOn, ScoresOfBaseline
from va_search.trial import ALL, SCORE

Outcome = Literal["better", "ahead", "same", "behind", "worse", "unknown"]
"""Ahead and behind are within chance; better and worse are not."""
COMPARISONS = {
    "better": "better than",
    "ahead": "not certainly better than",
    "behind": "not better than",
    "worse": "worse than",
}
USE_BEST = "; use --recipe best"
"""Advice where the ensemble is not the better choice."""
UNSEEN = "unseen people"
"""Whom scores of ensembles that an earlier version saved are taken to be of."""
SAME = 1e-9
"""A smaller difference is none."""
FOLLOWS, FOLLOWS_A_LITTLE = 0.3, 0.1
"""Median correlations within a recording from which on a model is said to follow time, or to follow
it a little."""


@dataclass(frozen=True)
class Verdict:
    """The ensemble's score against the best single trial's, and one sentence that says what it
    means.

    `use_best`: the recipe `best` is the better choice. `dimensions`: each target's outcome.
    `not_beaten`: by target, the names of the baselines that are as good or better, the best first;
    targets that beat them all are not in it."""

    outcome: Outcome
    ensemble: float | None
    best_single: float | None
    difference: float | None
    interval: Interval | None
    dimensions: dict[str, Outcome]
    text: str
    not_beaten: dict[str, list[str]] = field(default_factory=dict)

    @property
    def use_best(self) -> bool:
        return self.outcome in ("behind", "worse")

    @property
    def without_advice(self) -> str:
        """The text for commands that have no option --recipe."""
        return self.text.replace(USE_BEST, "")

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "use_best": self.use_best}


def verdict_of(ensemble: Ensemble) -> Verdict:
    """The verdict on a saved ensemble; `unknown`, with the reason, where it has no out-of-fold
    score."""
    scores, single = ensemble.scores.get("out_of_fold"), ensemble.best_single.get("out_of_fold")
    noun = single_noun(ensemble.measured_on)
    if scores and single:
        on = ensemble.measured_on.generalises_to or UNSEEN
        verdict = judge(scores, single, ensemble.differences, what=noun, on=on)
        return _beside_baselines(verdict, scores, ensemble.baselines or {})
    reason = ensemble.measured_on.reason or "there is no out-of-fold score"
    text = f"Whether this ensemble is better than a single {noun} is not known: {reason}."
    outcomes: dict[str, Outcome] = dict.fromkeys(ensemble.target_names, "unknown")
    return Verdict("unknown", None, None, None, None, outcomes, text)


def single_noun(measured_on: MeasuredOn) -> str:
    """`trial`, or `configuration` where members are configurations over folds."""
    if measured_on.fold == ALL:
        return "configuration"
    return "trial"


def _beside_baselines(
    verdict: Verdict, scores: Mapping[str, float], baselines: Mapping[str, ScoresOfBaseline]
) -> Verdict:
    """The verdict with the baselines that the out-of-fold scores do not beat, and a sentence on the
    best of them for each target."""
    not_beaten = {}
    sentences = [verdict.text]
    for target in verdict.dimensions:
        # (CCC, name) of each that is as good, the best first.
        as_good: list[tuple[float, str]] = []
        for name, cccs in baselines.items():
            value = cccs.get(target)
            if value is not None and scores[target] <= value:
                as_good.append((value, name))
        if as_good:
            as_good.sort(reverse=True)
            not_beaten[target] = [name for _, name in as_good]
            sentences.append(_not_beaten_sentence(target, scores[target], as_good[0]))
    return replace(verdict, text=" ".join(sentences), not_beaten=not_beaten)


def _not_beaten_sentence(target: str, score: float, baseline: tuple[float, str]) -> str:
    """`baseline`: CCC and name of the best one."""
    value, name = baseline
    return (
        f"For {target} it does not beat {TITLES[name]}, which nobody had to train: "
        f"{score:.3f} against {value:.3f}."
    )


def baselines_sentence(ensemble: Ensemble) -> str | None:
    """The best baselines that need no training and are not beaten, or that all are; None where they
    or the ensemble have no score."""
    scores, baselines = ensemble.scores.get("out_of_fold"), ensemble.baselines
    if not scores or not baselines:
        return None
    verdict = verdict_of(ensemble)
    sentences = []
    for target, names in verdict.not_beaten.items():
        value = baselines[names[0]][target]
        assert value is not None
        sentences.append(_not_beaten_sentence(target, scores[target], (value, names[0])))
    if sentences:
        return " ".join(sentences).removesuffix(".")
    titles = [TITLES[name] for name in baselines]
    listed = titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
    return f"it beats all that nobody had to train: {listed}"


def single_trials(ensemble: Ensemble) -> str | None:
    """The best single trial per target judged as the ensemble is: the comparison, and the trials'
    ids; None where either has no out-of-fold score."""
    scores, single = ensemble.scores.get("out_of_fold"), ensemble.best_single.get("out_of_fold")
    if not scores or not single:
        return None
    ids = set()
    per_target = []
    for target, weighted in ensemble.dimensions.items():
        trial = weighted.best_single
        if trial is not None:
            ids.add((trial.study, trial.trial))
            score = f"out-of-fold {single[target]:.3f}"
            per_target.append(f"{target} {trial.study}/{trial.trial} ({score})")
    noun = single_noun(ensemble.measured_on)
    verdict = judge(
        scores,
        single,
        ensemble.differences,
        who=f"ensemble {ensemble.name}",
        what=noun,
        on=ensemble.measured_on.generalises_to or UNSEEN,
    )
    sentence = verdict.without_advice.removesuffix(".")
    if per_target:
        sentence += f"; per target: {', '.join(per_target)}"
    overall = ensemble.best_for_both
    if overall is None or ids == {(overall.study, overall.trial)}:
        return sentence
    # The best score that a search prints is this trial's, and in-sample.
    targets = "all targets"
    if len(ensemble.dimensions) == 2:
        targets = "both"
    both = f"for {targets} in one {noun}: {overall.study}/{overall.trial}"
    measured = []
    for measure, words in (("out_of_fold", "out-of-fold"), ("in_sample", "in-sample")):
        known = overall.scores.get(measure)
        if known:
            measured.append(f"{words} {known[SCORE]:.3f}")
    sentence += f"; {both} ({', '.join(measured)}, as a search's best score is)"
    known = overall.scores.get("out_of_fold")
    if known and known[SCORE] - scores[SCORE] > SAME:
        # Of this difference no interval is known: it is paired with the best per target only.
        sentence += (
            f", whose out-of-fold score is above the {scores[SCORE]:.3f} of ensemble "
            f"{ensemble.name}; that may be chance"
        )
    return sentence


def judge(
    scores: Mapping[str, float],
    single: Mapping[str, float],
    differences: Mapping[str, Difference] | None,
    *,
    who: str = "this ensemble",
    what: str = "trial",
    on: str = UNSEEN,
) -> Verdict:
    """The verdict on out-of-fold scores {each target, score} against those of the best single
    trial; `on`: whom they generalise to."""
    intervals: dict[str, Interval | None] = dict.fromkeys(scores)
    for name, difference in (differences or {}).items():
        intervals[name] = difference.interval
    outcomes = {}
    for name, interval in intervals.items():
        outcomes[name] = _outcome(scores[name] - single[name], interval)
    score, single_score, interval = scores[SCORE], single[SCORE], intervals[SCORE]
    outcome = outcomes.pop(SCORE)
    on = on.replace(", ", " and ")
    text = _sentence(outcome, (score, single_score), interval, who=who, what=what, on=on)
    value = score - single_score
    return Verdict(outcome, score, single_score, value, interval, outcomes, text)


def _outcome(difference: float, interval: Interval | None) -> Outcome:
    if not math.isfinite(difference):
        return "unknown"
    if abs(difference) < SAME:
        return "same"
    # Without an interval chance is not known, so nothing is certain.
    within_chance = interval is None or interval[0] <= 0.0 <= interval[1]
    if within_chance:
        return "ahead" if difference > 0.0 else "behind"
    return "better" if difference > 0.0 else "worse"


def _sentence(
    outcome: Outcome,
    scores: tuple[float, float],
    interval: Interval | None,
    *,
    who: str,
    what: str,
    on: str,
) -> str:
    """`scores`: of the ensemble and of the best single trial."""
    if outcome == "unknown":
        return f"Whether {who} is better than the best single {what} is not known: a CCC is not defined."
    score, single = scores
    best = f"the best single {what} per target"
    if outcome == "same":
        return f"On {on} {who} is as good as {best}: score {score:.3f} out-of-fold for both."
    # Numbers, then what chance makes of them, then advice.
    between, chance = "", "but chance is not known: build it again"
    if interval is not None:
        between = f" (95 % {signed(interval[0])} to {signed(interval[1])})"
        within = outcome in ("ahead", "behind")
        chance = "within chance" if within else "more than chance explains"
    advice = USE_BEST if outcome in ("behind", "worse") else ""
    return (
        f"On {on} {who} is {COMPARISONS[outcome]} {best}: score {score:.3f} against "
        f"{single:.3f}, difference {signed(score - single)}{between}, {chance}{advice}."
    )


def signed(value: float) -> str:
    """A difference with its sign, in three digits."""
    return f"{value:+.3f}".replace("-", "−")


def within_recordings(target: str, pooled: float | None, spread: RecordingSpread) -> str:
    """One sentence on the scores of single recordings: is time followed within a recording?"""
    correlation = spread.correlation
    if spread.median is None or pooled is None:
        return ""
    scores_high = pooled >= FOLLOWS_A_LITTLE
    if correlation is None:
        if not scores_high or spread.median >= FOLLOWS_A_LITTLE:
            return ""
        return (
            f"{target}: a median CCC near 0 beside a high pooled CCC means that the ensemble tells recordings apart "
            "and does not follow time within one"
        )
    r = f"median correlation {correlation:.2f}"
    if correlation < FOLLOWS_A_LITTLE:
        source = "comes from telling recordings apart" if scores_high else "is low, too"
        return (
            f"{target}: within a recording the ensemble does not follow time ({r}); its pooled CCC of {pooled:.3f} "
            f"{source}"
        )
    if correlation < FOLLOWS:
        return f"{target}: within a recording the ensemble follows time a little ({r})"
    level = "" if spread.median > correlation / 2 else ", but often at another level or scale"
    return f"{target}: within a recording the ensemble follows time ({r}){level}"
