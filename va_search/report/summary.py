"""The top of a report: is the ensemble worth it, what to expect of it, and what is out of date."""

from __future__ import annotations

from va_search.ensemble.saved import Ensemble
from va_search.ensemble.verdict import verdict_of, within_recordings
from va_search.metrics import DIMENSIONS
from va_search.report.chosen import Chosen
from va_search.report.gather import Gathered
from va_search.report.model import Section
from va_search.report.standing import out_of_date, searched_now
from va_search.report.words import number

TITLE = "In short"


def summary_section(gathered: Gathered, chosen: Chosen) -> Section:
    """The verdict on the report's ensemble; without one, the best single trials so far."""
    ensemble = chosen.ensemble
    paragraphs = [] if ensemble is None else _of_ensemble(gathered, ensemble)
    paragraphs += _best_trials(gathered)
    known = set() if ensemble is None else set(ensemble.studies)
    searching = searched_now(gathered.home, [name for name in gathered.names if name not in known])
    return Section(TITLE, tuple(paragraphs + [_sentence(text) for text in searching]))


def _of_ensemble(gathered: Gathered, ensemble: Ensemble) -> list[str]:
    verdict = verdict_of(ensemble)
    paragraphs = [f"Ensemble {ensemble.name}. {verdict.text}"]
    scores = ensemble.scores.get("out_of_fold")
    if scores:
        intervals = (ensemble.intervals or {}).get("ensemble") or {}
        expected = [
            f"{name} {_with_interval(scores[name], intervals.get(name))}"
            for name in (*DIMENSIONS, "score")
        ]
        paragraphs.append(
            f"Expected of it on unseen people (out-of-fold CCC, 95 % interval): {', '.join(expected)}."
        )
    for dimension, weighted in ensemble.dimensions.items():
        if weighted.per_recording is not None:
            text = within_recordings(dimension, weighted.scores.out_of_fold, weighted.per_recording)
            paragraphs += [_sentence(text)] if text else []
    return paragraphs + [_sentence(text) for text in out_of_date(gathered.home, ensemble)]


def _best_trials(gathered: Gathered) -> list[str]:
    """One trial for both dimensions, and the best one of each; in-sample, of the main fold."""
    trials = gathered.on_main_fold
    if not trials:
        return []
    parts = []
    for measure, what in (("score", "for both"), *((name, f"for {name}") for name in DIMENSIONS)):
        best = max(trials, key=lambda trial: trial.ccc(measure) or 0.0)
        parts.append(f"{what} {best.id} ({measure} {number(best.ccc(measure))})")
    return [f"Best single trials, in-sample: {', '.join(parts)}."]


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return number(value)
    return f"{number(value)} ({number(interval[0], 2)} to {number(interval[1], 2)})"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
