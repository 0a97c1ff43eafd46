"""The ensemble that a report shows: how it is chosen, and the answer that the report opens with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from va_search.ensemble.saved import Ensemble, known_ensembles, read_ensemble
from va_search.errors import InputError
from va_search.home import Home
from va_search.report.gather import Gathered
from va_search.report.words import all_targets
from va_search.table import number
from va_search.trial import SCORE
from va_search.verdict.block import UNFINISHED, VerdictBlock, verdict_block
from va_search.verdict.stale import unfinished

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


@dataclass(frozen=True)
class Answer:
    """The beginning of a report: rows (label, sentence), the command that comes next, and the
    verdict on the report's ensemble; the last two None without one."""

    rows: tuple[tuple[str, str], ...]
    next_command: str | None = None
    verdict: VerdictBlock | None = None


def answer(gathered: Gathered, chosen: ChosenEnsemble, options: Sequence[str] = ()) -> Answer:
    """Say what is not finished, then the verdict on the report's ensemble, then the best trials.

    `options`: those that the next command needs, such as `--data STORE`."""
    complete = {study.name: len(study.trials) + study.outdated for study in gathered.studies}
    rows = [(UNFINISHED, text) for text in unfinished(gathered.home, complete)]
    best = []
    if gathered.on_main_fold:
        best.append(("best trials, in-sample", _best_trials(gathered)))
    if chosen.ensemble is None:
        return Answer((*rows, *best))
    block = verdict_block(gathered.home, chosen.ensemble, options)
    rows += [fact for fact in block.rows if fact[0] != UNFINISHED]
    return Answer((*rows, *best), block.next_command, block)


def _best_trials(gathered: Gathered) -> str:
    """The best trials of the main fold by each target and by the score."""
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
    return ", ".join(bests)


def ensemble_targets(ensemble: Ensemble) -> tuple[str, ...]:
    """Return the names of the targets that an ensemble predicts; a blend's are those of its parts."""
    _, piece = ensemble.pieces[0]
    return tuple(piece.dimensions)


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."
