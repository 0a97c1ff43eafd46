"""Table 4: the scores of a configuration on each fold, their average and spread (paper 4.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from va_search.data.store import Recording, Store
from va_search.report.gather import Gathered
from va_search.report.suggest import fold_space
from va_search.report.words import (
    kept_epochs,
    measures,
    model_name,
    other_settings,
    score_columns,
    spread_text,
    varying,
)
from va_search.search.fold_table import FoldRow, fold_table, label_of, store_folds
from va_search.table import DASH, Missing, Table, TableCell, TableRow, columns, number, row
from va_search.targets import AFFECT
from va_search.trial import SCORE, Trial
from va_search.trial_settings import TrialSettings

TITLE = "Table 4: folds"
MOST_CONFIGURATIONS = 5
"""Configurations that are shown, those with values on most folds first, then by average score."""

FoldKeys = Mapping[str | int, str | int]
"""A store's folds by number, each with the key that its trials have (`fold_table.store_folds`)."""


def folds_table(gathered: Gathered, out: Path | None = None) -> Table:
    """Table 4 of the configurations that were trained on several folds; without one, why, and how
    to have some. `out`: the report's folder."""
    store = gathered.store
    if store is None:
        problem = f"The store can't be read ({gathered.store_problem})"
        return Table(TITLE, missing=Missing(f"{problem}, so its folds aren't known."))
    folds = store_folds(store)
    if len(folds) < 2:
        return Table(TITLE, missing=fold_space(gathered, "The store has no folds.", out))
    trials: list[Trial] = []
    failures: list[Trial] = []
    for study in gathered.studies:
        trials += study.trials
        failures += study.failures
    configurations = fold_table(trials, failures, folds, store)
    # One fold alone is in the other tables; a failure counts, so that it is seen.
    several = [result for result in configurations if _tried_folds(result) > 1]
    if not several:
        count = f"No configuration was trained on two of the store's {len(folds)} folds"
        space = fold_space(gathered, f"{count}; a space with folds: all does.", out)
        return Table(TITLE, missing=space)
    return table_of_folds(several, folds, store)


def _tried_folds(configuration: FoldRow) -> int:
    """Folds on which there is a value or a failure."""
    count = 0
    for cell in configuration.cells.values():
        if cell.values or cell.state == "failed":
            count += 1
    return count


def table_of_folds(
    configurations: Sequence[FoldRow], folds: FoldKeys, store: Store | None
) -> Table:
    """A block per configuration: each fold, then average and spread.

    Without the store its recordings are not counted, and folds that it withholds are not shown."""
    shown = configurations[:MOST_CONFIGURATIONS]
    targets = _targets(shown, store)
    settings = [TrialSettings.model_validate(configuration.settings) for configuration in shown]
    names = varying(settings)
    rows: list[TableRow] = []
    for configuration, its_settings in zip(shown, settings, strict=True):
        title = _title(configuration, its_settings, names)
        rows += [row(title, kind="group"), *_block(configuration, folds, store, targets)]
    notes = [
        "Over several seeds: mean ± standard deviation. Spread: the standard deviation of the "
        "folds' means.",
        *_notes(shown, store),
    ]
    if len(configurations) > len(shown):
        count = f"{len(shown)} of {len(configurations)} configurations"
        notes.append(f"{count}, those on most folds and with the best average first.")
    numbers = score_columns(targets, "Recordings")
    return Table(
        TITLE,
        (*columns("Fold"), *numbers, *columns("State")),
        tuple(rows),
        lead=f"Each fold's validation recordings. {kept_epochs(each.keep for each in settings)}",
        notes=tuple(notes),
    )


def _title(configuration: FoldRow, settings: TrialSettings, names: Sequence[str]) -> str:
    """The configuration in words, its seeds, and its id in brackets."""
    model = model_name(settings)
    if settings.is_network:
        model += f", {settings.fusion} fusion"
    text = f"{model}: {', '.join(settings.features)}"
    differing = other_settings(settings, names)
    if differing != DASH:
        text += f"; {differing}"
    seeds = f"seed {configuration.seeds[0]}"
    if len(configuration.seeds) > 1:
        seeds = f"{len(configuration.seeds)} seeds, mean ± sd"
    return f"{text} — {seeds} ({configuration.configuration})"


def _targets(shown: Sequence[FoldRow], store: Store | None) -> tuple[str, ...]:
    """Names of the targets: the store's, or without it those that have values here."""
    if store is not None:
        return store.target_names
    for configuration in shown:
        if configuration.average:
            return tuple(name for name in configuration.average if name != SCORE)
    return AFFECT


def _block(
    configuration: FoldRow, folds: FoldKeys, store: Store | None, targets: Sequence[str]
) -> list[TableRow]:
    """A row per fold, then average and spread."""
    rows = []
    names = measures(targets)
    for label, cell in configuration.cells.items():
        scores = [spread_text(cell.values.get(measure)) for measure in names]
        state: str = cell.state
        # Some seeds have values here, others failed or were not trained.
        if cell.values and cell.values[SCORE].n < len(configuration.seeds):
            seeds = f"{cell.values[SCORE].n} of {len(configuration.seeds)} seeds"
            state += f", {seeds} complete"
        recordings = DASH
        if store is not None:
            recordings = str(_recordings(store.labelled, label))
        rows.append(row(label_of(label, folds), recordings, *scores, state))
    # Folds of test recordings are shown too, so that a reader misses none of the source's folds.
    for fold in _withheld_folds(store):
        assert store is not None
        recordings = str(_recordings(store.split("test"), fold))
        rows.append(row(f"{fold} (test)", recordings, *["withheld"] * len(names), "withheld"))
    means = [TableCell(DASH)] * len(names)
    spreads = [DASH] * len(names)
    folds_with_values = 0
    for index, measure in enumerate(names):
        if measure in configuration.average:
            average = configuration.average[measure]
            means[index] = TableCell(number(average.mean), best=True)
            spreads[index] = number(average.sd)
            folds_with_values = average.n
    count = f"{folds_with_values} of {len(configuration.cells)} folds"
    rows.append(row("Average", "", *means, count, kind="total"))
    rows.append(row("Spread over folds", "", *spreads, "", kind="total"))
    return rows


def _recordings(recordings: Sequence[Recording], fold: str | int) -> int:
    return sum(recording.fold == fold for recording in recordings)


def _withheld_folds(store: Store | None) -> list[int]:
    """Folds of which the store has test recordings only."""
    if store is None:
        return []
    folds = set()
    for recording in store.split("test"):
        if recording.fold is not None:
            folds.add(recording.fold)
    return sorted(folds - set(store.fold_numbers))


def _notes(shown: Sequence[FoldRow], store: Store | None) -> list[str]:
    """The meaning of the states and folds that occur."""
    notes = []
    if store is not None and store.official_fold is not None:
        official = f"Fold {store.official_fold} is the official split"
        notes.append(f"{official}: its validation set is the official one.")
    if _withheld_folds(store):
        fold = "a fold of the source's test recordings"
        notes.append(f"Withheld: {fold}; the store has no labels of them.")
    states: set[str] = set()
    for configuration in shown:
        states.update(cell.state for cell in configuration.cells.values())
    if "failed" in states:
        notes.append("Failed: the training failed there; the same search tries it again alone.")
    if "missing" in states:
        notes.append("Missing: not trained on that fold yet; the same search goes on with it.")
    return notes
