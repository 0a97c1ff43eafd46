"""The ensemble that a report shows: how it is chosen, and the answer that the report opens with."""

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

UNFINISHED = "Unfinished"
OUT_OF_DATE = "Out of date"
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


def answer(gathered: Gathered, chosen: ChosenEnsemble) -> tuple[tuple[str, str], ...]:
    """Rows (label, sentence): what is not finished, then the verdict on the report's ensemble, then
    the best single trials."""
    rows = [(UNFINISHED, sentence(text)) for text in unfinished(gathered)]
    if chosen.ensemble is not None:
        rows += _verdict_rows(gathered.home, chosen.ensemble)
    best = _best_trials(gathered)
    if best:
        rows.append(("Best trials, in-sample", best))
    return tuple(rows)


def unfinished(gathered: Gathered) -> list[str]:
    """A sentence for each study that is searched now, or of which trials are still to be trained."""
    sentences = searched_now(gathered.home, gathered.names)
    for study in gathered.studies:
        trained = len(study.trials) + study.outdated
        is_running = any(f"study {study.name} is" in text for text in sentences)
        if is_running or study.planned is None or trained >= study.planned:
            continue
        failed = f", {len(study.failed)} failed" if study.failed else ""
        sentences.append(
            f"study {study.name}: {trained:,} of {study.planned:,} planned trials are "
            f"complete{failed}, and it is not being searched now; this report is of these alone"
        )
    return sentences


def _best_trials(gathered: Gathered) -> str:
    """The best trials of the main fold by each target and by the score; empty without one."""
    bests = []
    words = dict(zip(gathered.targets, gathered.targets, strict=True))
    # With one target the score is its CCC, which stands there already.
    if len(words) > 1:
        words = {SCORE: all_targets(gathered.targets), **words}
    for measure, measure_words in words.items():
        measured = [trial for trial in gathered.on_main_fold if trial.ccc(measure) is not None]
        if measured:
            best = max(measured, key=lambda trial: trial.ccc(measure) or 0.0)
            bests.append(f"for {measure_words} {best.id} ({measure} {number(best.ccc(measure))})")
    return sentence(", ".join(bests)) if bests else ""


def _verdict_rows(home: Home, ensemble: Ensemble) -> list[tuple[str, str]]:
    rows = [("Verdict", f"Ensemble {ensemble.name}. {verdict_of(ensemble).text}")]
    scores = ensemble.scores.get("out_of_fold")
    # In-sample scores promise too much, so without out-of-fold ones nothing is expected of it.
    if ensemble.estimate is not None:
        rows.append(("Expected", ensemble.estimate.text))
    elif scores:
        intervals = (ensemble.intervals or {}).get("ensemble") or {}
        expected = []
        for name in measures(ensemble_targets(ensemble)):
            expected.append(f"{name} {with_interval(scores[name], intervals.get(name))}")
        measured = "on unseen people (out-of-fold CCC, 95 % interval)"
        rows.append(("Expected", f"{', '.join(expected)} {measured}."))
    for target, weighted in ensemble.dimensions.items():
        if weighted.per_recording is not None:
            out_of_fold = weighted.scores.out_of_fold
            text = within_recordings(target, out_of_fold, weighted.per_recording)
            if text:
                rows.append(("Within a recording", sentence(text)))
    rows += [(OUT_OF_DATE, sentence(text)) for text in out_of_date(home, ensemble)]
    return rows


def ensemble_targets(ensemble: Ensemble) -> tuple[str, ...]:
    """Return the names of the targets that an ensemble predicts; a blend's are those of its parts."""
    _, piece = ensemble.pieces[0]
    return tuple(piece.dimensions)


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
