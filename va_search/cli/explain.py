"""`va-search ensemble … --explain`: the explanation of an ensemble as tables on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from va_search.cli.output import Output
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.api.ensembles import OpenEnsemble
    from va_search.ensemble.explain import Explanation

SHOWN = 8
"""Members whose correlation is shown on the screen."""


def show_explanation(output: Output, ensemble: OpenEnsemble, data: str | None) -> None:
    """Explain the ensemble on the store at `data`, its own by default, and show the tables."""
    from va_search.ensemble.fresh import explanation_folder

    output.note("explaining: the recipe is built again without each feature set and encoder …")
    explained = ensemble.explain(store=data, note=output.note)
    for dimension, explanation in explained.items():
        output.show(shares_table(dimension, explanation))
        output.show(adds_table(dimension, explanation))
        output.show(correlation_table(dimension, explanation))
    output.show(
        "'adds' is the CCC with this part minus the CCC without it. A part that other members can "
        "replace adds little, even with a large weight."
    )
    output.show(f"tables and pictures: {explanation_folder(ensemble.home.files, ensemble.name)}")


def shares_table(dimension: str, explanation: Explanation) -> Table:
    """Weight by what members have in common."""
    from rich.table import Table

    table = Table(title=f"{dimension}: where the weight lies", title_justify="left")
    for name in ("", "", "members", "weight"):
        table.add_column(name, justify="right" if name else "left")
    shares = explanation.shares
    for index, share in enumerate(shares):
        begins = index == 0 or shares[index - 1].what != share.what
        ends = index + 1 == len(shares) or shares[index + 1].what != share.what
        kind = share.what.replace("features", "feature sets") if begins else ""
        cells = (kind, share.value, str(share.members), number(share.weight))
        table.add_row(*cells, end_section=ends)
    return table


def adds_table(dimension: str, explanation: Explanation) -> Table:
    """The recipe without each feature set and encoder; what single members add is in their own
    table."""
    from rich.table import Table

    measured = explanation.measured.replace("_", "-")
    whole = f"{measured} CCC {number(explanation.ccc)} with everything"
    table = Table(title=f"{dimension}: what each part adds ({whole})", title_justify="left")
    for name in ("left out", ""):
        table.add_column(name)
    for name in ("candidates", "weight", f"{measured}\nCCC without", "adds"):
        table.add_column(name, justify="right")
    groups = [part for part in explanation.additions if part.kind != "member"]
    for index, part in enumerate(groups):
        ends = index + 1 == len(groups) or groups[index + 1].kind != part.kind
        gain = "–" if part.gain is None else f"{part.gain:+.4f}"
        cells = (str(part.candidates), number(part.weight), number(part.without), gain)
        table.add_row(part.kind, part.name, *cells, end_section=ends)
    return table


def correlation_table(dimension: str, explanation: Explanation) -> Table:
    """Correlations of the predictions of the members with most weight."""
    from rich.table import Table

    members = len(explanation.labels)
    shown = min(SHOWN, members)
    title = f"{dimension}: correlation of members"
    if shown < members:
        title += f", the {shown} with most weight of {members}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("")
    for index in range(shown):
        table.add_column(str(index + 1), justify="right")
    for row in range(shown):
        values = [number(value, 2) for value in explanation.correlation[row, :shown].tolist()]
        table.add_row(str(row + 1), explanation.labels[row], *values)
    return table
