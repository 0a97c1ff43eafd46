"""`va-search search`: run a study, or go on with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import name_home, opened
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.files import Home
    from va_search.search.configurations import Space
    from va_search.search.credits import Credit
    from va_search.search.machine import Options
    from va_search.search.preview import Preview
    from va_search.search.session import Progress
    from va_search.search.summary import Summary
    from va_search.tracking.delivery import Pictures
    from va_search.trial import Trial

EXAMPLE = "Example: va-search search search_spaces/any.yaml --data stores/mine --study first"

LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""

DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
"""Days, hours, minutes and seconds, each of which may be left out."""

PREVIEWED = 10
"""So many trials of a dry run are shown."""


def search(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    *,
    data: Annotated[str, typer.Option("--data", help="The store to train on, a folder or a URL.")],
    study: Annotated[
        str, typer.Option("--study", help="The study's name; the same name again resumes it.")
    ],
    home: HomeOption = DEFAULT_HOME,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials side by side; default: all that fit.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="For example 0.25: four trials a GPU.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, e.g. auto; default: Ray on this machine.")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained; train nothing.")
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between a running trial's checkpoints.")
    ] = 30.0,
    fuse_seeds: Annotated[
        int,
        typer.Option(
            "--fuse-seeds", min=1, help="Train so many seeds as one model; meant for a GPU."
        ),
    ] = 1,
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", help="An earlier study for TPE to learn from; repeatable."),
    ] = None,
    stop_after: Annotated[
        float | None,
        typer.Option(
            "--stop-after",
            parser=seconds_of,
            metavar="DURATION",
            help="End within this time, such as 90m or 1h30m, even if trials still run; exit code 3.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the space's trials; what is complete is never trained again, Ctrl-C loses nothing
    finished.

    The budget's `hours` limit when trials may begin: those that run then are trained to their end.
    To limit the whole search, such as to the time of a SLURM job, give --stop-after: running trials
    keep their checkpoints, and the same command goes on from there."""
    with command(as_json) as output:
        from va_search.data.store import Store
        from va_search.search.machine import Options
        from va_search.search.preview import make_preview
        from va_search.search.space import load_space
        from va_search.storage.homes import home_at

        store = Store.open(data)
        searched = load_space(space, store)
        options = Options(
            address,
            concurrent,
            gpus_per_trial,
            tracking_uri,
            checkpoint_seconds=checkpoint_seconds,
            fuse_seeds=fuse_seeds,
        )
        if dry_run:
            with opened(home) as at:
                preview = make_preview(
                    at, searched, store, study=study, options=options, warm_start=warm_start or ()
                )
                show_preview(output, preview, searched)
            return
        at = home_at(home)
        following = at.command("ensemble", study, *recipe_for(study, searched.folds, store))
        summary = run(
            output,
            at,
            searched,
            store,
            study=study,
            options=options,
            following=following,
            stop_after=stop_after,
            warm_start=warm_start or (),
        )
        output.done(vars(summary))


def seconds_of(text: str) -> float:
    """A duration such as 90m, 1h30m, 2d or 5400 (seconds), in seconds."""
    found = DURATION.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        allowed = "expected a time such as 90m, 1h30m, 2d or 5400 (seconds)"
        raise typer.BadParameter(f"found {text!r}, {allowed}")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if whole <= 0:
        raise typer.BadParameter(f"found {text!r}, expected a time above 0")
    return whole


def run(
    output: Output,
    home: Home,
    space: Space,
    store: Store,
    *,
    study: str,
    options: Options,
    following: str | None = None,
    **more: Any,
) -> Summary:
    """Search with progress on standard error, then show what it did, and the command that may
    follow if a trial is complete; `more` goes to `run_search`. Unfinished is raised after the same
    is shown."""
    from va_search.search.run import run_search
    from va_search.search.summary import Unfinished

    name_home(home)
    more |= {
        "credit": credit_for(home, space, store),
        "pictures": pictures_for(home, space, store, study),
    }
    with progress_line(output) as watch:
        more |= {"options": options, "watch": watch, "note": output.note}
        try:
            summary, problem = run_search(home, space, store, study=study, **more), None
        except Unfinished as error:
            summary, problem = error.summary, error
    show_summary(output, summary, home)
    if following is not None and summary.complete:
        output.show(f"next: {following}")
    if problem is not None:
        output.done({**vars(summary), "error": str(problem), "exit_code": problem.exit_code})
        raise problem
    return summary


def credit_for(home: Home, space: Space, store: Store) -> Credit | None:
    """What tells a search how much trials add to an ensemble, where it asks for that."""
    from va_search.ensemble.credit import Credits

    return Credits(home, store) if space.objective == "ensemble" else None


def pictures_for(home: Home, space: Space, store: Store, study: str) -> Pictures:
    """What draws a study for its parent run in MLflow; imported when it first draws."""

    def pictures(trials: Sequence[Trial]) -> Mapping[str, Any]:
        from va_search.report.study_page import study_page

        return study_page(home, study, space.objective, store, trials)

    return pictures


def show_preview(output: Output, preview: Preview, searched: Space) -> None:
    """What a search would do: the plan, what is there, the first trials to come."""
    from va_search.cli.plan import show_plan

    for warm in preview.warm_start:
        output.show(warm_text(**warm))
    for change in preview.changes:
        output.show(f"space changed: {change}")
    show_plan(output, preview.plan, searched)
    words = {"failed": "failed before", "begun": "begun before", "new": "new"}
    parts = [f"{count} {words[status]}" for status, count in preview.statuses.items()]
    to_train = "as many as the time allows" if preview.to_train is None else f"{preview.to_train:,}"
    linked = f", {preview.elsewhere} taken from other studies" if preview.elsewhere else ""
    output.show(
        f"study      {preview.study}: {preview.complete} complete{linked}, {to_train} to train"
    )
    if preview.reason:
        output.show(f"           none would begin: {preview.reason}")
    if parts:
        output.show(
            f"first      {', '.join(parts)}"
            + (", then as the sampler chooses" if searched.sampler == "tpe" else "")
        )
    for one in preview.next[:PREVIEWED]:
        said = ", ".join(f"{name} {value}" for name, value in one["settings"].items())
        output.show(f"  {one['trial']}  {one['status']:6}  {said}")
    if len(preview.next) > PREVIEWED:
        output.show(f"  … and {len(preview.next) - PREVIEWED:,} more, which --json lists")
    output.done({**vars(preview), "plan": vars(preview.plan)})


def warm_text(study: str, used: int, outside: int, unscored: int, other_data: int) -> str:
    """What an earlier study told the sampler."""
    left = [f"{outside} outside this space"] * bool(outside) + [
        f"{unscored} without a score"
    ] * bool(unscored)
    text = f"warm start from {study}: {counted(used, 'trial')} learnt" + (
        f" ({', '.join(left)})" if left else ""
    )
    return text + (
        f"; {other_data} are of other data, of which only the ranking is meaningful"
        if other_data
        else ""
    )


def recipe_for(study: str, folds: list[int | str], store: Store) -> list[str]:
    """The options of `va-search ensemble` that suit what was searched: a score to choose by, all
    folds, or none."""
    if folds == ["train_val_mix"]:
        return ["--recipe", "paper/train_val_mix", "--name", f"{study}-mix"]
    every = {store.canonical_fold(number) for number in store.fold_numbers}
    if len(every) > 1 and every <= set(folds):
        return ["--recipe", "over_folds", "--name", f"{study}-folds"]
    return ["--name", f"{study}-best"]


def counts_of(summary: Summary) -> str:
    """How many trials are complete, of how many if not all are, and what became of the others."""
    parts = [f"{summary.trained} trained now", f"{summary.failed} failed"]
    if summary.adopted:
        parts.append(f"{summary.adopted} taken from other studies")
    if summary.missing:
        parts.append(f"{summary.missing} missing")
    of = f"{summary.complete:,} of " if summary.missing else ""
    number = (summary.planned if summary.missing else summary.complete) or 0
    return f"{of}{counted(number, 'trial')} complete ({', '.join(parts)})"


def show_summary(output: Output, summary: Summary, home: Home) -> None:
    """What a search did, in a few lines."""
    for warm in summary.warm_start:
        output.show(warm_text(**warm))
    if summary.found:
        were = "was" if summary.found == 1 else "were"
        output.show(f"resumed: {counted(summary.found, 'trial')} {were} complete already")
    output.show(f"study {summary.study}: {counts_of(summary)} in {duration(summary.seconds)}")
    _show_counts(output, summary)
    for name, (trial, value) in summary.best.items():
        which = "  best single trial for both" if name == "score" else ""
        output.show(
            f"best {name:8} {number(value)}  validation, in-sample best epoch  trial {trial}{which}"
        )
    if summary.pareto:
        output.show(
            "Pareto set: no other trial beats these on one dimension without losing on the other"
        )
    for one in summary.pareto or ():
        pair = f"valence {number(one['valence'])}  arousal {number(one['arousal'])}"
        output.show(f"  {pair}  validation, in-sample best epoch  trial {one['trial']}")
    if summary.complete and not summary.best:
        output.show(
            "no validation (train_val_mix): nothing to rank by; the bank has each trial's test predictions"
        )
    if summary.recovered:
        output.show(
            f"{counted(summary.recovered, 'time')} a trial's process ended before it and another one went on with it"
        )
    if summary.failed:
        status = home.command("status", summary.study)
        output.show(f"failed trials keep their traceback ({status}); search again retries them")
    if summary.reason:
        output.show(f"stopped: {summary.reason}")
    show_tracking(output, summary)


def show_tracking(output: Output, summary: Summary) -> None:
    """Show what MLflow did not take, and why; nothing where it has everything."""
    if summary.undelivered:
        them = "it" if summary.undelivered == 1 else "them"
        output.show(
            f"MLflow lacks {counted(summary.undelivered, 'trial')}; the next search delivers {them}"
        )
        output.show(f"tracking: {summary.tracking_problem or 'too slow to take them all'}")
    elif summary.tracking_problem:
        output.show(f"tracking: {summary.tracking_problem}")


def _show_counts(output: Output, summary: Summary) -> None:
    """What other commands count beside these trials, and where these were trained."""
    for why, count in summary.beside.items():
        more = "1 more complete trial is" if count == 1 else f"{count} more complete trials are"
        output.show(f"{more} {why}: not counted here, but by status, ensemble and report")
    if summary.devices:
        trained = ", ".join(f"{count} on {device}" for device, count in summary.devices.items())
        output.show(f"trained now: {trained}")


@contextmanager
def progress_line(output: Output) -> Iterator[Callable[[Progress], None]]:
    """One line that keeps itself up to date on a terminal, a line now and then elsewhere; always on
    standard error."""
    remarked = 0

    def print_remarks(progress: Progress) -> None:
        nonlocal remarked
        for remark in progress.remarks[remarked:]:
            output.note(remark)
        remarked = len(progress.remarks)

    if output.error.is_terminal:
        with output.error.status("starting Ray …") as status:

            def update(progress: Progress) -> None:
                print_remarks(progress)
                status.update(progress_text(progress))

            yield update
        return
    printed, stopping = time.monotonic() - LINE_SECONDS, False

    def print_now_and_then(progress: Progress) -> None:
        nonlocal printed, stopping
        print_remarks(progress)
        if time.monotonic() - printed >= LINE_SECONDS or progress.stopping != stopping:
            printed, stopping = time.monotonic(), progress.stopping
            output.note(progress_text(progress))

    yield print_now_and_then


def progress_text(progress: Progress) -> str:
    """finished/planned, running, failed, the best so far, time left."""
    if progress.undelivered is not None:
        return (
            f"training done · updating MLflow: {counted(progress.undelivered, 'trial')} to go "
            "(Ctrl-C leaves this to the next search)"
        )
    if progress.stopping:
        return f"stopping: {progress.finished} finished are saved; Ctrl-C again stops at once"
    if progress.lacks is not None:
        return f"{progress.finished} finished · {progress.lacks} (Ctrl-C stops)"
    planned = "" if progress.planned is None else f"/{progress.planned}"
    on = "" if progress.device is None else f" on {progress.device}"
    reached = ""
    if progress.best_valence is not None or progress.best_arousal is not None:
        pair = f"best valence {number(progress.best_valence)} · best arousal {number(progress.best_arousal)}"
        reached = f" · {pair} (validation)"
    left = (
        "" if progress.seconds_left is None else f" · about {duration(progress.seconds_left)} left"
    )
    return (
        f"{progress.finished}{planned} finished · {progress.running} running{on} · {progress.failed} failed{reached} · "
        f"{duration(progress.seconds)}{left}"
    )
