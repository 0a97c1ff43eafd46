"""`va-search trials` and `va-search trial`: all trials of a study as one table, and one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.api.home import check_studies
from va_search.api.progress import duration
from va_search.cli.contents import size_text
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.errors import InputError, counted
from va_search.table import DASH, Table, TableCell, columns, number, row

if TYPE_CHECKING:
    import pandas as pd

    from va_search.api.trials import OpenTrial
    from va_search.trial import Trial

TRIALS_EXAMPLE = "Example: va-search trials first --csv first.csv"
TRIAL_EXAMPLE = "Example: va-search trial first/3f2a, where 3f2a begins the trial's id"
MOST_SHOWN = 20
CHART_WIDTH, CHART_HEIGHT = 60, 8
"""Columns and lines of a curve in the terminal."""


def trials(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    *,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the whole table to this file.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show all trials of a study, complete, failed and unfinished, one row each: scores, the
    settings that differ, times. In Python: open_study(STUDY).trials(every=True)."""
    with command(as_json) as output, named_home(home).using() as opened:
        from va_search.api.study import OpenStudy
        from va_search.api.trials import differing_settings, every_trial, table_of
        from va_search.files import whole_file

        files = opened.files
        check_studies(files, [study], lambda _, of: files.command("trials", of[0]))
        open_study = OpenStudy(opened, study)
        listed = every_trial(open_study)
        table = table_of(open_study, listed)
        if csv is None:
            output.show(_short(study, table, differing_settings(listed)))
        else:
            if csv.is_dir() or not csv.absolute().parent.is_dir():
                raise InputError(f"{csv}: expected a file to write, in a folder that is there")
            with whole_file(csv) as beside:
                table.to_csv(beside)
            output.show(f"wrote {counted(len(table), 'trial')} of study {study} to {csv}")
        rows = _plain_rows(table) if as_json else []
        output.done({"study": study, "csv": None if csv is None else str(csv), "trials": rows})


def trial(
    label: Annotated[
        str,
        typer.Argument(
            metavar="STUDY/ID", help="Study and trial; a beginning of the id is enough."
        ),
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show one trial: scores, settings, its training epoch by epoch, files, and how to load it in
    Python."""
    with command(as_json) as output, named_home(home).using() as opened:
        from va_search.api.study import OpenStudy

        study, slash, name = label.partition("/")
        if not slash:
            raise InputError(f"{label!r}: expected STUDY/ID, such as first/3f2a")
        files = opened.files
        check_studies(files, [study], lambda _, of: files.command("trial", f"{of[0]}/{name}"))
        open_trial = OpenStudy(opened, study).trial(name)
        _show(output, open_trial)
        document = open_trial.record.to_json()
        python = open_trial.python()
        more = {"files": open_trial.files, "ensembles": open_trial.ensembles, "python": python}
        output.done({**document, **more})


def _short(study: str, table: pd.DataFrame, differing: Sequence[str]) -> Table:
    """The best trials, with the settings that differ."""
    names = [*differing, "fold", "seed"]
    rows = []
    for name, cells in table.head(MOST_SHOWN).iterrows():
        values = [DASH if _is_missing(cells[key]) else str(cells[key]) for key in names]
        rows.append(
            row(TableCell(str(name), code=True), cells["state"], number(cells["score"]), *values)
        )
    shown = "" if len(rows) == len(table) else f", {len(rows)} of them"
    notes = ("--csv FILE writes all of them, with all columns.",) if shown else ()
    heads = (*columns("Trial", "State"), *columns("Score", kind="number"), *columns(*names))
    title = f"{counted(len(table), 'trial')} of study {study}{shown} (mean CCC on validation)"
    return Table(title, heads, tuple(rows), notes=notes)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain_rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows for JSON: the trial's id beside its columns, null where there is no value."""
    rows = []
    for name, cells in table.iterrows():
        plain = {str(key): None if _is_missing(value) else value for key, value in cells.items()}
        rows.append({"trial": str(name), **plain})
    return rows


# One trial ------------------------------------------------------------------------------------


def _show(output: Output, trial: OpenTrial) -> None:
    record = trial.record
    scores = [f"{measure} {number(ccc)}" for measure, ccc in trial.scores.items()]
    output.show(f"trial {record.label}: {', '.join(scores) or 'no validation, so no scores'}")
    origin = [record.source, record.device, record.node, record.finished_at]
    if record.seconds is not None:
        origin.append(duration(record.seconds))
    output.show(", ".join(str(part) for part in origin if part))
    if record.history:
        output.show(_epochs_text(record))
    if trial.settings:
        output.show(_settings_table(trial))
    for line in _curve_lines(trial):
        output.show(line)
    ensembles = trial.ensembles
    for name, weights in ensembles.items():
        texts = [f"{target} {weight:.2f}" for target, weight in weights.items()]
        output.show(f"in ensemble {name}, with weight: {', '.join(texts)}")
    if not ensembles:
        output.show("in no ensemble of this home")
    sizes = [row(name, size_text(size)) for name, size in trial.files.items()]
    heads = (*columns("File"), *columns("Size", kind="number"))
    files = trial.study.home.files
    folder = trial.folder
    place = str(folder) if files.url is None else f"{files.url}/{folder.relative_to(files.root)}"
    output.show(Table(f"Files in {place}", heads, tuple(sizes)))
    output.show("In Python:")
    for line in trial.python():
        output.show(f"    {line}")


def _epochs_text(record: Trial) -> str:
    """`12 epochs of 30 (stopped early); best epoch: valence 7, arousal 9`."""
    text = counted(record.epochs or len(record.history), "epoch")
    if record.settings is not None:
        text += f" of {record.settings.epochs}"
    if record.stopped:
        text += " (stopped early)"
    best = []
    for measure, reached in record.best.items():
        if reached.epoch is not None:
            best.append(f"{measure} {reached.epoch}")
    return f"{text}; best epoch: {', '.join(best)}" if best else text


def _settings_table(trial: OpenTrial) -> Table:
    """The settings that have an effect: those that were chosen by row, defaults in a line."""
    from va_search.trial_settings import value_text

    defaults = trial.default_settings
    rows = []
    for name, value in trial.effective_settings.items():
        if name not in defaults:
            rows.append(row(name, value_text(value)))
    texts = [f"{name} {value_text(value)}" for name, value in defaults.items()]
    notes = (f"Defaults: {', '.join(texts)}.",) if texts else ()
    title = "Settings that have an effect"
    return Table(title, columns("Setting", "Value"), tuple(rows), notes=notes)


def _curve_lines(trial: OpenTrial) -> list[str]:
    """The score of each epoch as a chart, or the loss where nothing was validated."""
    history = trial.record.history
    scores = [(epoch.epoch, epoch.score) for epoch in history if epoch.score is not None]
    title = "score"
    if not scores:
        title, scores = "loss", [(epoch.epoch, epoch.loss) for epoch in history]
    points = [(epoch, value) for epoch, value in scores if math.isfinite(value)]
    return [f"{title} by epoch:", *chart(points)] if len(points) > 1 else []


def chart(
    points: Sequence[tuple[int, float]], *, width: int = CHART_WIDTH, height: int = CHART_HEIGHT
) -> list[str]:
    """Lines of text that draw points (epoch, value) as stars, the highest value at the top; of more
    epochs than there are columns each column shows the last one that falls in it."""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    count = min(width, len(points))
    by_column: dict[int, float] = {}
    for index, value in enumerate(values):
        by_column[index * count // len(values)] = value
    span = (high - low) or 1.0
    levels = {
        column: round((value - low) / span * (height - 1)) for column, value in by_column.items()
    }
    lines = []
    for level in reversed(range(height)):
        stars = "".join("*" if levels[column] == level else " " for column in range(count))
        label = {height - 1: number(high), 0: number(low)}.get(level, "")
        lines.append(f"{label:>7} |{stars.rstrip()}")
    first, last = str(points[0][0]), str(points[-1][0])
    lines.append(f"{'':>7} +{'-' * count}")
    lines.append(f"{'epoch':>7}  {first}{last:>{max(count - len(first), len(last) + 1)}}")
    return lines
