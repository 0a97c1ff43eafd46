"""Tables of `va-search ensemble`: an ensemble with its members and scores, and all recipes compared.

Conventions: a table says of every CCC what it was measured on; an interval follows its score in
brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from va_search.api.ensembles import BEST
from va_search.cli.output import Output
from va_search.errors import counted
from va_search.table import Table, TableCell, columns, number, row

if TYPE_CHECKING:
    from va_search.ensemble.compare import RecipeScores
    from va_search.ensemble.saved import Ensemble, MeasuredOn
    from va_search.verdict.block import VerdictBlock


def show(output: Output, built: Ensemble) -> None:
    """Show members and weights per dimension, then the scores, those of a blend's parts first."""
    from va_search.report.chosen import ensemble_targets
    from va_search.report.tables.ensemble import scores_tables, target_table

    for target in ensemble_targets(built):
        output.show(target_table(built, target))
    for table in scores_tables(built):
        output.show(table)


def show_verdict(output: Output, block: VerdictBlock, *, done: str | None = None) -> None:
    """Show the verdict's rows, wrapped where a terminal shows them, and the command that comes next
    unless it is the one that is `done`."""
    width = output.standard.width if output.standard.is_terminal else None
    for line in block.lines(width):
        output.show(line)
    if block.next_command not in (None, done):
        output.show(f"next: {block.next_command}")


def tell_left_out(output: Output, left_out: Mapping[str, int]) -> None:
    """Show which trials could not be a member, by reason."""
    from va_search.report.tables.ensemble import left_out_sentences

    for sentence in left_out_sentences(left_out):
        output.note(sentence)


def tell_measured(output: Output, measured: MeasuredOn) -> None:
    """Show what the scores were measured on, or why there are none."""
    from va_search.report.tables.ensemble import measured_sentences

    for sentence in measured_sentences(measured):
        output.show(sentence)


def comparison_table(compared: Sequence[RecipeScores], candidates: int) -> Table:
    """One row per recipe, the best out-of-fold first."""
    from va_search.report.tables.ensemble import score_texts

    rows = []
    for recipe in compared:
        label = recipe.recipe
        if label == BEST:
            label += "\n(the best single\ntrial per target)"
        if recipe.takes:
            taken = dict.fromkeys(recipe.takes.values())
            label += f"\n(nested; takes\n{', '.join(taken)})"
        scores = score_texts(recipe.out_of_fold, recipe.intervals, tuple(recipe.in_sample))
        # The label is to be copied into --recipe, so it is kept in one piece like an id.
        in_sample = number(recipe.in_sample["score"])
        rows.append(row(TableCell(label, code=True), *scores, in_sample))
    names = [f"{name[:1].upper()}{name[1:]}" for name in compared[0].in_sample]
    numbers = columns(*names, "Score\nin-sample", kind="number")
    return Table(
        f"All recipes on {counted(candidates, 'candidate')}, CCC on validation, out-of-fold",
        (*columns("Recipe"), *numbers),
        tuple(rows),
    )
