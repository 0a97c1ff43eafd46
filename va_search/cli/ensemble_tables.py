"""The tables of `va-search ensemble`: members, scores, and all recipes compared.

Conventions: a table says of every CCC what it was measured on; an interval stands in brackets behind its score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from va_search.cli.output import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from va_search.ensemble.compare import Interval, Row
    from va_search.ensemble.saved import Ensemble

SCORES = ("valence", "arousal", "score")


def members_table(built: Ensemble, dimension: str) -> Table:
    """One row per member with weight; its CCC is in-sample, on the validation recordings."""
    from rich.table import Table

    members = built.dimensions[dimension].members
    count = f"{len(members)} of {built.candidates} candidates"
    table = Table(title=f"{dimension}: {count}, recipe {built.recipe}", title_justify="left")
    table.add_column("trial", no_wrap=True)
    table.add_column("encoder, fusion")
    table.add_column("features")
    table.add_column("seed", justify="right")
    table.add_column("weight", justify="right")
    table.add_column("CCC\nin-sample", justify="right")
    table.add_column("gain\nout-of-fold", justify="right")
    many = len(built.studies) > 1
    for member in members:
        trial = f"{member.study}/{member.trial}" if many else member.trial
        model = "–" if member.encoder is None else f"{member.encoder}, {member.fusion}"
        features = ", ".join(member.features or ["–"])
        seed = "–" if member.seed is None else str(member.seed)
        table.add_row(trial, model, features, seed, number(member.weight), number(member.ccc), _signed(member.gain))
    return table


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def scores_table(built: Ensemble) -> Table:
    """The best single trial against the ensemble: out-of-fold with its interval first, then in-sample."""
    from rich.table import Table

    table = Table(title="CCC on validation", title_justify="left")
    for name in ("", "measured", *SCORES):
        table.add_column(name, justify="right" if name in SCORES else "left")
    rows = (
        ("best single trial", built.best_single, "best_single"),
        (f"ensemble {built.name}", built.scores, "ensemble"),
    )
    for measured in ("out_of_fold", "in_sample"):
        for what, scores, who in rows:
            intervals = (built.intervals or {}).get(who) if measured == "out_of_fold" else None
            cells = _cells(scores[measured], intervals)
            table.add_row(what, measured.replace("_", "-"), *cells, end_section=who == "ensemble")
    return table


def _cells(scores: Mapping[str, float] | None, intervals: Mapping[str, Interval | None] | None) -> list[str]:
    """Three scores, each with its interval where there is one."""
    cells = []
    for name in SCORES:
        interval = (intervals or {}).get(name)
        between = "" if interval is None else f" ({number(interval[0], 2)} to {number(interval[1], 2)})"
        cells.append(number((scores or {}).get(name)) + between)
    return cells


def comparison_table(rows: Sequence[Row], candidates: int) -> Table:
    """One row per recipe, the best out-of-fold first."""
    from rich.table import Table

    table = Table(title=f"all recipes on {candidates} candidates, CCC on validation, out-of-fold", title_justify="left")
    table.add_column("recipe", no_wrap=True)
    for name in SCORES:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("score\nin-sample", justify="right")
    for row in rows:
        said = row.recipe
        if row.takes:
            taken = dict.fromkeys(row.takes.values())
            said += f"\n(nested; takes\n{', '.join(taken)})"
        table.add_row(said, *_cells(row.out_of_fold, row.intervals), number(row.in_sample["score"]))
    return table
