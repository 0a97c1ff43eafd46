"""Two studies compared, paired: the same configurations on the same folds and seeds, and the best
configuration of each, fold by fold and person by person.

Conventions: a difference is the first study's score less the second's (mean of the targets' CCCs on
each fold's validation, best epochs, so in-sample). Trials that both studies have under one id are
the same training: they are counted, and tell nothing. The best configuration is the one with the
best mean over the folds and seeds that both studies have: the best of many is seen too well, in the
study with more configurations more so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.home import OpenHome, check_studies, open_home, open_noted_store
from va_search.ensemble.paired import PairedDifference
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import SCORE, Trial
from va_search.trial_settings import configuration_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from va_search.data.store import Store

Cell = tuple[int | str, int]
"""Fold and seed."""
ByCell = Mapping[Cell, Trial]


@dataclass(frozen=True)
class BestPair:
    """The best configuration of each study: the id of one of its trials and its mean score over
    the shared folds and seeds. `cells`: the difference over these, `people` over the people of
    these folds' validation; None, with the `reason`, where predictions can't be compared."""

    trials: tuple[str, str]
    scores: tuple[float, float]
    cells: PairedDifference
    people: PairedDifference | None
    reason: str = ""


@dataclass(frozen=True)
class EnsembleScore:
    """An ensemble made of one of the studies alone, and its score out-of-fold."""

    name: str
    study: str
    score: float | None
    interval: tuple[float, float] | None
    frames_hash: str


@dataclass(frozen=True)
class StudyComparison:
    """`configurations`: number of those that both studies have; `same_trials`: trials that both have
    under one id; `trials`: the difference over the others, of the same configuration, fold and seed.
    `cells`: folds and seeds that both studies have. `ensembles`: of either study alone."""

    studies: tuple[str, str]
    configurations: int
    same_trials: int
    trials: PairedDifference
    cells: tuple[Cell, ...]
    best: BestPair | None
    ensembles: tuple[EnsembleScore, ...]


def compare_studies(
    first: str,
    second: str,
    *,
    store: Store | str | Path | None = None,
    home: OpenHome | str | Path | None = None,
) -> StudyComparison:
    """Compare two studies of a home. `store`: where it lies now if it was moved. InputError for
    unknown studies."""
    with open_home(home).using("predictions", studies=[first, second]) as opened:
        files = opened.files
        check_studies(
            files, [first, second], lambda _, of: files.command("study", "compare", *of[:2])
        )
        bank = Bank(files.bank)
        ours, theirs = _by_configuration(bank, first), _by_configuration(bank, second)
        differences: list[float] = []
        same = 0
        shared = sorted(ours.keys() & theirs.keys())
        for configuration in shared:
            for trial, partner in _pairs(ours[configuration], theirs[configuration]):
                if trial.id == partner.id:
                    same += 1
                else:
                    differences.append(_score(trial) - _score(partner))
        cells = sorted(_cells(ours) & _cells(theirs), key=str)
        return StudyComparison(
            studies=(first, second),
            configurations=len(shared),
            same_trials=same,
            trials=PairedDifference.of(differences),
            cells=tuple(cells),
            best=_best_pair(bank, (ours, theirs), cells, store),
            ensembles=tuple(_ensembles(files, (first, second))),
        )


def _by_configuration(bank: Bank, study: str) -> dict[str, dict[Cell, Trial]]:
    """A study's trials with scores by configuration, fold and seed."""
    trials: dict[str, dict[Cell, Trial]] = {}
    for trial in bank.each_trial(study):
        if trial.settings is None or trial.score is None:
            continue
        configuration = configuration_id(trial.settings, but=("seed", "fold"))
        cell = (trial.settings.fold, trial.settings.seed)
        trials.setdefault(configuration, {})[cell] = trial
    return trials


def _cells(trials: Mapping[str, ByCell]) -> set[Cell]:
    cells: set[Cell] = set()
    for by_cell in trials.values():
        cells |= by_cell.keys()
    return cells


def _pairs(ours: ByCell, theirs: ByCell) -> Iterator[tuple[Trial, Trial]]:
    for cell in sorted(ours.keys() & theirs.keys(), key=str):
        yield ours[cell], theirs[cell]


def _score(trial: Trial) -> float:
    score = trial.score
    assert score is not None  # _by_configuration takes no others
    return score


# The best of each -----------------------------------------------------------------------------


def _best_pair(
    bank: Bank,
    studies: tuple[Mapping[str, ByCell], Mapping[str, ByCell]],
    cells: Sequence[Cell],
    store: Store | str | Path | None,
) -> BestPair | None:
    """Compare the best configuration of each study; None where none of a study has all cells."""
    best: list[ByCell] = []
    for trials in studies:
        complete = [by_cell for by_cell in trials.values() if by_cell.keys() >= set(cells)]
        if not complete or not cells:
            return None
        best.append(max(complete, key=lambda by_cell: _mean(by_cell, cells)))
    ours, theirs = best
    differences = [_score(ours[cell]) - _score(theirs[cell]) for cell in cells]
    people, reason = None, ""
    try:
        people = _people(bank, ours, theirs, cells, store)
    except (InputError, OSError) as error:
        reason = str(error).splitlines()[0]
    return BestPair(
        trials=(ours[cells[0]].id, theirs[cells[0]].id),
        scores=(_mean(ours, cells), _mean(theirs, cells)),
        cells=PairedDifference.of(differences),
        people=people,
        reason=reason,
    )


def _mean(by_cell: ByCell, cells: Sequence[Cell]) -> float:
    return sum(_score(by_cell[cell]) for cell in cells) / len(cells)


def _people(
    bank: Bank,
    ours: ByCell,
    theirs: ByCell,
    cells: Sequence[Cell],
    store: Store | str | Path | None,
) -> PairedDifference:
    """The difference person by person over the people of the folds, the mean over seeds.
    InputError where the store is not there, or predictions are of other recordings."""
    noted = ours[cells[0]].store_path or ""
    opened = open_noted_store(noted, store)
    seeds = sorted({seed for _, seed in cells})
    folds = sorted({fold for fold, _ in cells}, key=str)
    every = [seed for seed in seeds if {(fold, seed) for fold in folds} <= set(cells)]
    if not every:
        raise InputError("no seed has all the folds that both studies have")
    differences: NDArray[np.float64] | float = 0.0
    for seed in every:
        of_both = []
        for by_cell in (ours, theirs):
            of_both.append(_shares(bank, [by_cell[fold, seed] for fold in folds], opened))
        differences = differences + (of_both[0] - of_both[1]) / len(every)
    return PairedDifference.of(list(differences))  # type: ignore[arg-type]


def _shares(bank: Bank, trials: Sequence[Trial], store: Store) -> NDArray[np.float64]:
    """(people,) shares of the score of a configuration, of its trials on several folds."""
    import numpy as np

    from va_search.data.store import frames_hash, positions
    from va_search.ensemble.paired import shares
    from va_search.trial import FoldKind

    predictions, annotations = [], []
    people: list[str] = []
    for trial in trials:
        assert trial.settings is not None
        recordings = FoldKind(trial.settings.fold).recordings(store)
        hashed = frames_hash(recordings)
        read = bank.read(trial.study, trial.id, "validation", frames_hash=hashed)
        predictions.append(read)
        annotations.append(store.annotations[positions(recordings)])
        for recording in recordings:
            people += [recording.subject] * recording.frames
    return shares(np.concatenate(predictions), np.concatenate(annotations), people)


def _ensembles(home: Home, studies: Sequence[str]) -> Iterator[EnsembleScore]:
    """Yield the ensembles made of one of the studies alone; those that can't be read are left
    out."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble

    for name in known_ensembles(home):
        try:
            ensemble = read_ensemble(home, name)
        except InputError:
            continue
        if len(ensemble.studies) != 1 or ensemble.studies[0] not in studies:
            continue
        scores = ensemble.scores.get("out_of_fold") or {}
        intervals = (ensemble.intervals or {}).get("ensemble") or {}
        yield EnsembleScore(
            name,
            ensemble.studies[0],
            scores.get(SCORE),
            intervals.get(SCORE),
            ensemble.frames_hash,
        )
