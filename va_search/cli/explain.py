"""`va-search ensemble … --explain`: tables on the screen, as CSV and JSON, and pictures, under the
ensemble's name."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.cli.output import Output
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.ensemble.explain import Explanation
    from va_search.ensemble.material import Materials
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home

SHOWN = 8
"""Members whose correlation is shown on the screen."""


def explain(output: Output, home: Home, built: Ensemble, materials: Materials) -> Path:
    """Explain `built` on what it was made from; returns the folder the tables and pictures are in.

    `ensembles/<name>/` under home: explain.json, weight.csv, adds.csv, correlation-<dimension>.csv,
    and the same as PNG. A picture that can't be drawn is a warning."""
    from va_search.ensemble.explain import explain_ensemble
    from va_search.ensemble.fresh import explanation_folder

    output.note("explaining: the recipe is built again without each feature set and encoder …")
    explained = explain_ensemble(built, materials)
    for dimension, one in explained.items():
        output.show(shares_table(dimension, one))
        output.show(adds_table(dimension, one))
        output.show(correlation_table(dimension, one))
    output.show(
        "'adds' is the CCC with this part minus the CCC without it. A part that other members can replace adds little, "
        "even with a large weight."
    )
    folder = explanation_folder(home, built.name)
    save(explained, built, folder)
    _draw(output, explained, folder)
    output.show(f"tables and pictures: {folder}")
    return folder


def save(explained: Mapping[str, Explanation], built: Ensemble, folder: Path) -> None:
    """Write explain.json and the CSV tables, each whole."""
    from va_search.ensemble.fresh import content_id
    from va_search.files import write_json

    document = {
        "ensemble": built.name,
        "content": content_id(built),
        "created_at": built.created_at,
        "dimensions": {dimension: one.document() for dimension, one in explained.items()},
    }
    write_json(folder / "explain.json", document)
    weight = [
        (d, s.what, s.value, s.members, s.weight)
        for d, one in explained.items()
        for s in one.shares
    ]
    _write(folder / "weight.csv", ("dimension", "what", "value", "members", "weight"), weight)
    adds = [
        (d, one.measured, a.kind, a.name, a.candidates, a.weight, one.ccc, a.without, a.gain)
        for d, one in explained.items()
        for a in one.additions
    ]
    heading = (
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
    _write(folder / "adds.csv", heading, adds)
    for dimension, one in explained.items():
        rows = [
            (label, *row) for label, row in zip(one.labels, one.correlation.tolist(), strict=True)
        ]
        _write(folder / f"correlation-{dimension}.csv", ("member", *one.labels), rows)


def shares_table(dimension: str, one: Explanation) -> Table:
    """Weight by what members have in common."""
    from rich.table import Table

    table = Table(title=f"{dimension}: where the weight lies", title_justify="left")
    for name in ("", "", "members", "weight"):
        table.add_column(name, justify="right" if name else "left")
    for index, share in enumerate(one.shares):
        last = index + 1 == len(one.shares) or one.shares[index + 1].what != share.what
        first = index == 0 or one.shares[index - 1].what != share.what
        what = share.what.replace("features", "feature sets") if first else ""
        table.add_row(what, share.value, str(share.members), number(share.weight), end_section=last)
    return table


def adds_table(dimension: str, one: Explanation) -> Table:
    """The recipe without each feature set and encoder; what single members add is in their own
    table."""
    from rich.table import Table

    measured = one.measured.replace("_", "-")
    whole = f"{measured} CCC {number(one.ccc)} with everything"
    table = Table(title=f"{dimension}: what each part adds ({whole})", title_justify="left")
    for name in ("left out", "", "candidates", "weight", f"{measured}\nCCC without", "adds"):
        table.add_column(name, justify="left" if name in ("left out", "") else "right")
    groups = [part for part in one.additions if part.kind != "member"]
    for index, part in enumerate(groups):
        last = index + 1 == len(groups) or groups[index + 1].kind != part.kind
        gain = "–" if part.gain is None else f"{part.gain:+.4f}"
        cells = [str(part.candidates), number(part.weight), number(part.without), gain]
        table.add_row(part.kind, part.name, *cells, end_section=last)
    return table


def correlation_table(dimension: str, one: Explanation) -> Table:
    """How alike the members with most weight predict."""
    from rich.table import Table

    shown = min(SHOWN, len(one.labels))
    cut = f", the {shown} with most weight of {len(one.labels)}" if shown < len(one.labels) else ""
    table = Table(title=f"{dimension}: correlation of members{cut}", title_justify="left")
    table.add_column("")
    table.add_column("")
    for index in range(shown):
        table.add_column(str(index + 1), justify="right")
    for row in range(shown):
        values = [number(value, 2) for value in one.correlation[row, :shown].tolist()]
        table.add_row(str(row + 1), one.labels[row], *values)
    return table


def _draw(output: Output, explained: Mapping[str, Explanation], folder: Path) -> None:
    from va_search.ensemble.pictures import draw

    try:
        draw(explained, folder)
    except ImportError as error:
        output.note(
            f"warning: no pictures ({error}); `pip install matplotlib` and run it again; the tables are there"
        )


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file; what is not there is an empty cell."""
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
