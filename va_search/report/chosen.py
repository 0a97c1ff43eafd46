"""The ensemble that a report shows: how it is chosen, and what the report says of it first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from va_search.ensemble.saved import Ensemble, known_ensembles, read_ensemble
from va_search.ensemble.verdict import verdict_of, within_recordings
from va_search.errors import InputError
from va_search.home import Home
from va_search.report.gather import Gathered
from va_search.report.words import all_targets, measures
from va_search.search.extent import searched_now
from va_search.table import number, with_interval
from va_search.trial import SCORE
from va_search.verdict.stale import out_of_date

PAPER_ORDER = ("ensemble_1", "ensemble_2", "ensemble_3", "six_fold", "train_val_mix")
"""The paper's recipes; Tables 2 and 3 show its first submission."""


@dataclass(frozen=True)
class ChosenEnsemble:
    """The ensemble that a report shows, None without one; names of those that were passed over, and
    problems of those that can't be read."""

    ensemble: Ensemble | None
    passed_over: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def choose_ensemble(home: Home, studies: Sequence[str], name: str | None = None) -> ChosenEnsemble:
    """The ensemble `name`, else the newest whose studies are among `studies`; those with a
    validation score first.

    Where the newest is one of the paper's five strategies, the newest of the first of them is
    taken, as in the paper. InputError where `name` is unknown or can't be read."""
    if name is not None:
        return ChosenEnsemble(read_ensemble(home, name))
    candidates: list[Ensemble] = []
    problems: list[str] = []
    for candidate in known_ensembles(home):
        try:
            ensemble = read_ensemble(home, candidate)
        except InputError as error:
            problems += error.problems
            continue
        # One that other studies feed too is not theirs: its members would be in no other table.
        if set(ensemble.studies) <= set(studies):
            candidates.append(ensemble)
    if not candidates:
        return ChosenEnsemble(None, (), tuple(problems))
    # The last is the best one of all, and then the best of its like by the paper's order.
    candidates.sort(key=lambda ensemble: (_rank(ensemble), ensemble.created_at, ensemble.name))
    best = candidates[-1]
    if best.recipe in PAPER_ORDER:
        alike = [e for e in candidates if e.recipe in PAPER_ORDER and _rank(e) == _rank(best)]
        alike.sort(key=lambda ensemble: PAPER_ORDER.index(ensemble.recipe), reverse=True)
        best = alike[-1]
    names = {ensemble.name for ensemble in candidates} - {best.name}
    return ChosenEnsemble(best, tuple(sorted(names)), tuple(problems))


def _rank(ensemble: Ensemble) -> int:
    """2: measured on one fold's validation; 1: with a score all the same; 0: without."""
    if not ensemble.scores.get("in_sample"):
        return 0
    return 2 if ensemble.measured_on.split == "validation" else 1


def summary_paragraphs(gathered: Gathered, chosen: ChosenEnsemble) -> list[str]:
    """The verdict on the report's ensemble, the best single trials, and what is out of date."""
    ensemble = chosen.ensemble
    paragraphs: list[str] = []
    searching = set(gathered.names)
    if ensemble is not None:
        # What is said of the ensemble names its own studies that are being searched.
        paragraphs = _ensemble_paragraphs(gathered.home, ensemble)
        searching -= set(ensemble.studies)
    if gathered.on_main_fold:
        bests = []
        wanted = {target: target for target in gathered.targets}
        # With one target the score is its CCC, which stands there already.
        if len(wanted) > 1:
            wanted = {SCORE: all_targets(gathered.targets), **wanted}
        for measure, words in wanted.items():
            measured = [each for each in gathered.on_main_fold if each.ccc(measure) is not None]
            if not measured:
                continue
            best = max(measured, key=lambda trial: trial.ccc(measure) or 0.0)
            bests.append(f"for {words} {best.id} ({measure} {number(best.ccc(measure))})")
        paragraphs.append(f"Best single trials, in-sample: {', '.join(bests)}.")
    return paragraphs + list(map(sentence, searched_now(gathered.home, sorted(searching))))


def _ensemble_paragraphs(home: Home, ensemble: Ensemble) -> list[str]:
    paragraphs = [f"Ensemble {ensemble.name}. {verdict_of(ensemble).text}"]
    scores = ensemble.scores.get("out_of_fold")
    # In-sample scores promise too much, so without out-of-fold ones nothing is expected of it.
    if ensemble.estimate is not None:
        paragraphs.append(ensemble.estimate.text)
    elif scores:
        intervals = (ensemble.intervals or {}).get("ensemble") or {}
        expected = []
        for name in measures(ensemble_targets(ensemble)):
            expected.append(f"{name} {with_interval(scores[name], intervals.get(name))}")
        measured = "(out-of-fold CCC, 95 % interval)"
        paragraphs.append(f"Expected of it on unseen people {measured}: {', '.join(expected)}.")
    for target, weighted in ensemble.dimensions.items():
        if weighted.per_recording is not None:
            out_of_fold = weighted.scores.out_of_fold
            text = within_recordings(target, out_of_fold, weighted.per_recording)
            if text:
                paragraphs.append(sentence(text))
    return paragraphs + list(map(sentence, out_of_date(home, ensemble)))


def ensemble_targets(ensemble: Ensemble) -> tuple[str, ...]:
    """Return the names of the targets that an ensemble predicts; a blend's are those of its parts."""
    _, piece = ensemble.pieces[0]
    return tuple(piece.dimensions)


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
