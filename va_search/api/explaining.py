"""An explanation of an ensemble beside it, under ensembles/<name>/: explain.json, CSV tables and
pictures.

Conventions: weight.csv has a row per thing that members share, adds.csv one per part that was left
out, correlation-<dimension>.csv the members' correlations. What is not there is an empty cell."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.progress import Note, to_standard_error
from va_search.errors import InputError

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.ensemble.explain import Explanation
    from va_search.ensemble.saved import Ensemble
    from va_search.home import Home

SHARES = ("dimension", "what", "value", "members", "weight")
ADDITIONS = (
    "dimension",
    "measured",
    "kind",
    "name",
    "candidates",
    "weight",
    "ccc",
    "without",
    "gain",
)
"""Columns of weight.csv and adds.csv."""


def explain(
    home: Home, ensemble: Ensemble, store: Store | None, note: Note = to_standard_error
) -> dict[str, Explanation]:
    """Explain `ensemble` on what it was made from, by dimension, and keep tables and pictures.

    A picture that can't be drawn is a warning to `note`."""
    from va_search.ensemble.explain import explain_ensemble
    from va_search.ensemble.fresh import explanation_folder
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import Members
    from va_search.ensemble.saved import check_members
    from va_search.predictions.bank import Bank

    check_members(ensemble, Bank(home.bank))
    members = Members.model_validate(ensemble.recipe_document.get("members") or {})
    materials = gather(home, ensemble.studies, store, outside=members.outside, folds=members.folds)
    explained = explain_ensemble(ensemble, materials)
    # tables first, so that they are there where nothing can be drawn
    folder = explanation_folder(home, ensemble.name)
    save_explanation(explained, ensemble, folder)
    try:
        from va_search.ensemble.pictures import draw

        draw(explained, folder)
    except ImportError as error:
        note(
            f"warning: no pictures ({error}); `pip install matplotlib` and run it again; "
            "the tables are there"
        )
    return explained


def refuse_unexplained(recipe: str) -> None:
    """InputError for recipes whose ensembles have no validation score of their own to explain."""
    from va_search.data.store import MIX
    from va_search.ensemble.recipe import load_recipe

    chosen = load_recipe(recipe)
    if chosen.of:
        parts = ", ".join(part.name for _, part in chosen.of)
        blends = f"recipe {recipe} blends several: explain {parts}"
        raise InputError(f"--explain explains one choice of members; {blends}")
    if chosen.members.folds == MIX:
        members = f"which members of recipe {recipe} have none of"
        raise InputError(f"--explain measures on validation, {members}")


def save_explanation(
    explained: Mapping[str, Explanation], ensemble: Ensemble, folder: Path
) -> None:
    """Write explain.json and the CSV tables, each whole."""
    from va_search.ensemble.fresh import content_id
    from va_search.files import write_json

    document = {
        "ensemble": ensemble.name,
        "content": content_id(ensemble),
        "created_at": ensemble.created_at,
        "dimensions": {name: explanation.document() for name, explanation in explained.items()},
    }
    write_json(folder / "explain.json", document)
    shares: list[Sequence[Any]] = []
    additions: list[Sequence[Any]] = []
    for dimension, explanation in explained.items():
        for share in explanation.shares:
            shares.append((dimension, share.what, share.value, share.members, share.weight))
        for part in explanation.additions:
            group = (part.kind, part.name, part.candidates, part.weight)
            scores = (explanation.ccc, part.without, part.gain)
            additions.append((dimension, explanation.measured, *group, *scores))
        rows = zip(explanation.labels, explanation.correlation.tolist(), strict=True)
        correlations = [(label, *row) for label, row in rows]
        path = folder / f"correlation-{dimension}.csv"
        _write_table(path, ("member", *explanation.labels), correlations)
    _write_table(folder / "weight.csv", SHARES, shares)
    _write_table(folder / "adds.csv", ADDITIONS, additions)


def _write_table(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from va_search.files import whole_file

    with whole_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(heading)
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return "" if value is None else value
