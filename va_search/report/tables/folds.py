"""Table 4: what a configuration reaches on each fold, average and spread (paper 4.5)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from va_search.data.store import Store
from va_search.report.gather import Gathered
from va_search.report.model import DASH, Cell, Missing, Row, Table, columns, row
from va_search.report.suggest import fold_space
from va_search.report.words import BEST_EPOCH, model_name, other_settings, said, signed, varying
from va_search.report.words import Over as Of
from va_search.search.fold_table import MEASURES, FoldRow, Spread, fold_table, label_of, store_folds
from va_search.trial_settings import TrialSettings

TITLE = "Table 4: folds"
MOST = 5
"""Configurations that are shown, those with values on most folds first, then by average score."""


def folds_table(gathered: Gathered, out: Path | None = None) -> Table:
    """A block per configuration that was trained on several folds: each fold, then average and
    spread."""
    store = gathered.store
    if store is None:
        return Table(
            TITLE,
            missing=Missing(
                f"The store can't be read ({gathered.store_problem}), so its folds aren't known."
            ),
        )
    folds = store_folds(store)
    if len(folds) < 2:
        return Table(TITLE, missing=fold_space(gathered, "The store has no folds.", out))
    found = [one for one in _rows(gathered) if _tried(one) > 1]
    if not found:
        why = f"No configuration was trained on two of the store's {len(folds)} folds; a space with folds: all does."
        return Table(TITLE, missing=fold_space(gathered, why, out))
    shown = found[:MOST]
    names = varying([_settings(one) for one in shown])
    rows = [row for one in shown for row in _block(one, names, store)]
    return Table(
        TITLE,
        columns("Fold", numbers=("Recordings", "Valence", "Arousal", "Mean")),
        tuple(rows),
        lead=f"Each fold's validation recordings. {BEST_EPOCH}",
        notes=tuple(_notes(found, shown, store)),
    )


def _rows(gathered: Gathered) -> list[FoldRow]:
    assert gathered.store is not None
    trials = [trial for study in gathered.studies for trial in study.trials]
    failures = [trial for study in gathered.studies for trial in study.failures]
    return fold_table(trials, failures, store_folds(gathered.store), gathered.store)


def _tried(one: FoldRow) -> int:
    """Folds on which there is a value or a failure."""
    return sum(bool(cell.values) or cell.state == "failed" for cell in one.cells.values())


def _block(one: FoldRow, names: list[str], store: Store) -> Iterable[Row]:
    folds = store_folds(store)
    seeds = f"{len(one.seeds)} seeds" if len(one.seeds) > 1 else f"seed {one.seeds[0]}"
    yield row(f"{_configuration(one, names)} — {seeds}", kind="group")
    for label, cell in one.cells.items():
        values = [Cell(_said(cell.values.get(measure))) for measure in MEASURES]
        if not cell.values:
            values = [Cell(cell.state), Cell(DASH), Cell(DASH)]
        partly = (
            f", {cell.state} for some seeds" if cell.values and cell.state != "complete" else ""
        )
        recordings = sum(recording.fold == label for recording in store.labelled)
        yield row(f"Fold {label_of(label, folds)}{partly}", str(recordings), *values)
    for label in withheld_folds(store):
        recordings = sum(recording.fold == label for recording in store.split("test"))
        yield row(f"Fold {label} (test)", str(recordings), "withheld", "withheld", "withheld")
    complete = sum(bool(cell.values) for cell in one.cells.values())
    of = "" if complete == len(one.cells) else f" of {complete} of {len(one.cells)} folds"
    yield row(
        f"Average{of}", "", *(_mean(one.average.get(measure)) for measure in MEASURES), kind="total"
    )
    yield row(
        "Spread over folds",
        "",
        *(_spread(one.average.get(measure)) for measure in MEASURES),
        kind="total",
    )


def withheld_folds(store: Store) -> list[int]:
    """Folds of which the store has test recordings only."""
    numbers = {recording.fold for recording in store.split("test") if recording.fold is not None}
    return sorted(numbers - set(store.fold_numbers))


def _said(value: Spread | None) -> str:
    return said(None if value is None else Of(value.mean, value.sd, value.n))


def _mean(value: Spread | None) -> Cell:
    return Cell(
        DASH if value is None else said(Of(value.mean, None, value.n)), best=value is not None
    )


def _spread(value: Spread | None) -> str:
    return DASH if value is None or value.sd is None else signed(value.sd).replace("+", "± ")


def _settings(one: FoldRow) -> TrialSettings:
    return TrialSettings.model_validate(one.settings)


def _configuration(one: FoldRow, names: list[str]) -> str:
    settings = _settings(one)
    other = other_settings(settings, names)
    text = f"{model_name(settings)}, {settings.fusion} fusion: {', '.join(settings.features)}"
    return text if other == DASH else f"{text}; {other}"


def _notes(found: list[FoldRow], shown: list[FoldRow], store: Store) -> list[str]:
    notes = [
        "Over several seeds: mean ± standard deviation. Spread: the standard deviation of the folds' means."
    ]
    if len(found) > len(shown):
        notes.append(
            f"{len(shown)} of {len(found)} configurations, those on most folds and with the best average first."
        )
    if store.official_fold is not None:
        notes.append(
            f"Fold {store.official_fold} is the official split: its validation set is the official one."
        )
    if withheld_folds(store):
        notes.append(
            "Withheld: a fold of the source's test recordings; the store has no labels of them."
        )
    if any(cell.state == "failed" for one in shown for cell in one.cells.values()):
        notes.append("Failed: the training failed there; the same search tries it again alone.")
    if any(cell.state == "missing" for one in shown for cell in one.cells.values()):
        notes.append("Missing: not trained on that fold yet; the same search does it.")
    return notes
