"""What `va-search ensemble` shows: members, scores, what they were measured on, and all recipes
compared.

Conventions: a table says of every CCC what it was measured on; an interval follows its score in
brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from va_search.cli.advice import BEST
from va_search.cli.output import Output, number
from va_search.errors import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from va_search.ensemble.bootstrap import Difference, Interval
    from va_search.ensemble.compare import RecipeScores
    from va_search.ensemble.saved import Ensemble, MeasuredOn

    Scored = Mapping[str, Mapping[str, float] | None]
    Intervals = Mapping[str, Interval | None]

SCORES = ("valence", "arousal", "score")


def show(output: Output, built: Ensemble) -> None:
    """Members and weights per dimension, then the scores, then what a reader should know."""
    from va_search.ensemble.verdict import within_recordings

    for part in built.parts:
        output.show(f"part {part.ensemble.name}, share {part.share:g}:")
        show(output, part.ensemble)
    for dimension in built.dimensions:
        output.show(members_table(built, dimension))
        output.show(_finishing(built, dimension))
    if built.scores["in_sample"]:
        output.show(scores_table(built))
    if built.parts:
        output.show(
            f"ensemble {built.name}: {', '.join(f'{p.share:g} × {p.ensemble.name}' for p in built.parts)}"
        )
    tell_measured(output, built.measured_on)
    for dimension, weighted in built.dimensions.items():
        spread = weighted.per_recording
        if spread is not None:
            undefined = f"; not defined in {spread.undefined}" if spread.undefined else ""
            output.show(
                f"{dimension}, single recordings, out-of-fold: median CCC {number(spread.median)}, quartiles "
                f"{number(spread.low)} and {number(spread.high)}{undefined}"
            )
            meaning = within_recordings(dimension, weighted.scores.out_of_fold, spread)
            if meaning:
                output.show(meaning)
    sources = {member.source for one in built.dimensions.values() for member in one.members}
    if built.scores["in_sample"] and sources & {"trained", "folds"}:
        output.show(
            "All these scores are slightly too high, because each trial chose its best epoch on the same recordings."
        )
    tell_left_out(output, built.left_out)
    if not built.parts:
        for note in built.notes:
            output.note(note)


def tell_left_out(output: Output, left_out: Mapping[str, int]) -> None:
    """What could not be a member, by reason."""
    for reason, count in left_out.items():
        output.note(f"{counted(count, 'trial')} left out: {reason}")


def tell_measured(output: Output, measured: MeasuredOn) -> None:
    """In words, what the scores were measured on, or why there are none."""
    if not measured.recordings:
        output.show(f"no validation score: {measured.reason}")
        return
    where = (
        f"fold {measured.fold}" if measured.fold != "official" else "the official validation split"
    )
    if measured.fold == "all":
        where = "all folds, each recording predicted by the trial that did not train on it"
    labelled = (
        f"{measured.labelled_frames} labelled frame{'' if measured.labelled_frames == 1 else 's'}"
    )
    output.show(f"measured on {where}: {counted(measured.recordings, 'recording')}, {labelled}")
    if measured.reason:
        output.show(
            f"in-sample only, no out-of-fold score: {measured.reason}; in-sample is too high, by an unknown amount"
        )
        return
    output.show(
        f"out-of-fold: the whole recipe again in each of {measured.folds} folds, without the recordings scored (those "
        f"of one {measured.kept_together} kept together); in brackets the 95 % interval over {measured.groups} such "
        "groups"
    )
    output.show("in-sample: on the frames everything was chosen on, so too high")


def _finishing(built: Ensemble, dimension: str) -> str:
    """In words, what follows the members' weights."""
    part, post = built.dimensions[dimension], built.dimensions[dimension].post
    said = [f"recipe {part.takes}"] if part.takes else []
    if part.shrink:
        toward = {"nnls": "those of least squares"}.get(
            part.recipe.get("toward", "equal"), "equal ones"
        )
        said.append(f"weights shrunk {part.shrink:g} of the way to {toward}")
    if post.smoothing != "none" and post.window_seconds:
        said.append(f"smoothed ({post.smoothing.replace('_', ' ')}, {post.window_seconds:g} s)")
    if post.delay_seconds:
        said.append(f"delayed by {post.delay_seconds:g} s")
    if post.scale != 1.0 or post.offset != 0.0:
        said.append(
            f"matched (× {post.scale:.3f} {'−' if post.offset < 0 else '+'} {abs(post.offset):.3f})"
        )
    return f"{dimension}: {', '.join(said) or 'the weighted sum as it is'}"


def members_table(built: Ensemble, dimension: str) -> Table:
    """One row per member with weight; its CCC is in-sample, on the recordings the ensemble is
    measured on."""
    from rich.table import Table

    members = built.dimensions[dimension].members
    count = f"{len(members)} of {counted(built.candidates, 'candidate')}"
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
        table.add_row(
            trial,
            model,
            features,
            seed,
            number(member.weight),
            number(member.ccc),
            _signed(member.gain),
        )
    return table


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def scores_table(built: Ensemble) -> Table:
    """The best single trials against the ensemble: out-of-fold with its interval first, then
    in-sample.

    Per target is each dimension's own best trial, for both is one trial, by its mean; a difference
    is paired."""
    from rich.table import Table

    over = ", every recording by its own fold's trial" if built.measured_on.fold == "all" else ""
    table = Table(title=f"CCC on validation{over}", title_justify="left")
    for name in ("", "measured", *SCORES):
        table.add_column(name, justify="right" if name in SCORES else "left")
    single = "best configuration" if built.measured_on.fold == "all" else "best single"
    intervals = built.intervals or {}
    both = built.best_for_both
    rows: list[tuple[str, Scored, Intervals | None]] = []
    if both is not None:
        rows.append((f"{single} for both", both.scores, both.intervals))
    if not built.parts:
        rows.append((f"{single} per target", built.best_single, intervals.get("best_single")))
    rows.append((f"ensemble {built.name}", built.scores, intervals.get("ensemble")))
    for measured in ("out_of_fold", "in_sample"):
        out_of_fold = measured == "out_of_fold"
        for what, scores, around in rows:
            cells = _cells(scores[measured], around if out_of_fold else None)
            table.add_row(what, measured.replace("_", "-"), *cells)
        if out_of_fold and built.differences:
            differences = [_difference(built.differences.get(name)) for name in SCORES]
            table.add_row("ensemble − per target", "out-of-fold", *differences)
        table.add_section()
    return table


def _difference(difference: Difference | None) -> str:
    """`+0.021 (-0.05 to 0.09)`, in brackets the paired interval."""
    if difference is None:
        return "–"
    interval = difference.interval
    between = "" if interval is None else f" ({number(interval[0], 2)} to {number(interval[1], 2)})"
    return f"{difference.value:+.3f}{between}"


def _cells(
    scores: Mapping[str, float] | None, intervals: Mapping[str, Interval | None] | None
) -> list[str]:
    """Three scores, each with its interval where there is one."""
    cells = []
    for name in SCORES:
        interval = (intervals or {}).get(name)
        between = (
            "" if interval is None else f" ({number(interval[0], 2)} to {number(interval[1], 2)})"
        )
        cells.append(number((scores or {}).get(name)) + between)
    return cells


def comparison_table(rows: Sequence[RecipeScores], candidates: int) -> Table:
    """One row per recipe, the best out-of-fold first."""
    from rich.table import Table

    table = Table(
        title=f"all recipes on {counted(candidates, 'candidate')}, CCC on validation, out-of-fold",
        title_justify="left",
    )
    table.add_column("recipe", no_wrap=True)
    for name in SCORES:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("score\nin-sample", justify="right")
    for row in rows:
        said = row.recipe
        if said == BEST:
            said += "\n(the best single\ntrial per target)"
        if row.takes:
            taken = dict.fromkeys(row.takes.values())
            said += f"\n(nested; takes\n{', '.join(taken)})"
        table.add_row(said, *_cells(row.out_of_fold, row.intervals), number(row.in_sample["score"]))
    return table
