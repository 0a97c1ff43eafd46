"""Fold tables of a study's best configurations for a terminal, each like the paper's Table 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from va_search.cli.output import Output, number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.data.store import Store
    from va_search.search.fold_table import Cell, FoldRow, Spread
    from va_search.trial import Trial

SHOWN = 3
"""Configurations whose fold table is shown; --json has them all."""


def show_folds(
    output: Output,
    document: dict[str, Any],
    trials: list[Trial],
    failures: list[Trial],
) -> list[dict[str, Any]]:
    """Show the fold tables of a study that has several folds; all of them as plain data, none where
    there is one fold.

    `document` is study.json; the store it names tells the folds' numbers, where it is still there.
    """
    from va_search.search.fold_table import fold_table

    store = _store(document)
    folds = study_folds(document, [*trials, *failures], store)
    rows = fold_table(trials, failures, folds, store) if len(folds) > 1 else []
    for row in rows[:SHOWN]:
        output.show(table_of(row, folds))
        for line in lacking(row, folds):
            output.show(line)
    if len(rows) > SHOWN:
        output.show(
            f"{len(rows) - SHOWN} more configurations have trials on these folds: --json lists them"
        )
    return [plain(row) for row in rows]


def _store(document: dict[str, Any]) -> Store | None:
    """The store that study.json names; None where it is not there any more."""
    from va_search.data.store import Store
    from va_search.errors import InputError

    try:
        return Store.open(document["store_path"])
    except (InputError, KeyError, OSError):
        return None


def study_folds(
    document: dict[str, Any], trials: list[Trial], store: Store | None
) -> dict[str | int, str | int]:
    """The folds that a study's space asks for or its trials have, by number where the store tells
    it, without train_val_mix."""
    from va_search.data.store import MIX, OFFICIAL
    from va_search.search.fold_table import store_folds

    numbers = {} if store is None else store_folds(store)
    asked = document["space"].get("folds", [OFFICIAL])
    keys: set[str | int] = {MIX if trial.fold is None else trial.fold for trial in trials}
    keys |= set(numbers.values()) if asked == "all" else {numbers.get(key, key) for key in asked}
    known = {number: key for number, key in numbers.items() if key in keys}
    others = keys - set(known.values()) - {MIX}
    return known | {key: key for key in sorted(others, key=str)}


def table_of(row: FoldRow, folds: Mapping[str | int, str | int]) -> Table:
    """One configuration: a row a fold, the average and how far the folds lie apart."""
    from rich.table import Table

    from va_search.search.fold_table import MEASURES, label_of

    said = row.settings
    seeds = f"{len(row.seeds)} seeds, mean ± sd" if len(row.seeds) > 1 else f"seed {row.seeds[0]}"
    title = f"{said['encoder']}, {said['fusion']} fusion, {'+'.join(said['features'])}; {seeds} ({row.configuration})"
    table = Table(
        title=title + "\nvalidation CCC on each fold, best epoch: in-sample", title_justify="left"
    )
    table.add_column("fold")
    for name in ("valence", "arousal", "mean"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for label, cell in row.cells.items():
        table.add_row(
            label_of(label, folds),
            *(_said(cell.values.get(one)) for one in MEASURES),
            _state(cell, row),
        )
    table.add_section()
    over = [row.average.get(one) for one in MEASURES]
    there = f"{over[0].n if over[0] else 0} of {len(row.cells)} folds"
    table.add_row("average", *(number(one.mean if one else None) for one in over), there)
    table.add_row("sd of folds", *(number(one.sd if one else None) for one in over), "")
    return table


def lacking(row: FoldRow, folds: Mapping[str | int, str | int]) -> list[str]:
    """What is not there, in words; nothing for a configuration that is complete on all folds."""
    from va_search.search.fold_table import label_of

    lines = []
    for state, hint in (
        ("failed", "search again tries them alone"),
        ("missing", "search again goes on with them"),
    ):
        names = [label_of(label, folds) for label, cell in row.cells.items() if cell.state == state]
        if names:
            lines.append(f"{state} folds: {', '.join(names)}; {hint}")
    return lines


def plain(row: FoldRow) -> dict[str, Any]:
    """A row as plain data."""
    return {**asdict(row), "complete": row.complete}


def _said(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    return (
        number(spread.mean) if spread.sd is None else f"{number(spread.mean)} ± {number(spread.sd)}"
    )


def _state(cell: Cell, row: FoldRow) -> str:
    there = cell.values["score"].n if cell.values else 0
    return (
        cell.state
        if there in (0, len(row.seeds))
        else f"{cell.state}, {there} of {len(row.seeds)} seeds there"
    )
