"""`va-search search`: run a study, or go on with it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import search_progress, summary_lines, warm_start_text
from va_search.cli.options import (
    ClusterOption,
    ConcurrentOption,
    GpusOption,
    GpusPerTrialOption,
    NotifyOption,
    PatienceOption,
    ShareGpusOption,
    TrackingUriOption,
    WorthOption,
    gpu_names,
)
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import name_home, named_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from va_search.api.home import OpenHome
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.home import Home
    from va_search.search.configurations import Space
    from va_search.search.preview import Preview
    from va_search.search.summary import Summary

EXAMPLE = "Example: va-search search search_spaces/any.yaml --data stores/mine --study first"

DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
"""Days, hours, minutes and seconds, each of which may be left out."""

PREVIEWED = 10
"""So many trials of a dry run are shown."""


def search(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    *,
    data: Annotated[str, typer.Option("--data", help="The store to train on, a folder or a URL.")],
    study: Annotated[
        str, typer.Option("--study", help="Name of the study; the same name again resumes it.")
    ],
    home: HomeOption = DEFAULT_HOME,
    concurrent: ConcurrentOption = None,
    gpus: GpusOption = None,
    gpus_per_trial: GpusPerTrialOption = None,
    share_gpus: ShareGpusOption = False,
    address: ClusterOption = None,
    tracking_uri: TrackingUriOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained; train nothing.")
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between a running trial's checkpoints.")
    ] = 30.0,
    fuse_seeds: Annotated[
        int,
        typer.Option(
            "--fuse-seeds", min=1, help="Train up to this many seeds as one model; meant for a GPU."
        ),
    ] = 1,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            "--warm-start",
            help="An earlier study for the sampler to learn from; may be given several times.",
        ),
    ] = None,
    stop_after: Annotated[
        float | None,
        typer.Option(
            "--stop-after",
            parser=seconds_of,
            metavar="DURATION",
            help="Stop within this time, such as 90m or 1h30m, even if trials are running; exit code 3.",
        ),
    ] = None,
    worth: WorthOption = None,
    notify: NotifyOption = None,
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Search together with the processes that search the study already, if any.",
        ),
    ] = False,
    patience: PatienceOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Train the trials of a space. Complete trials are never trained again; Ctrl-C loses no
    finished trial.

    `hours` in the space's budget limits when new trials may begin; trials that are running then are
    trained to their end. To limit the time of the whole search, for example to that of a SLURM job,
    give --stop-after: running trials keep their checkpoints, and the same command continues from
    them."""
    with command(as_json) as output:
        import va_search as va
        from va_search.api.searching import with_budget

        store = va.open_store(data)
        searched = with_budget(va.load_space(space, store), store, {"worth": worth})
        options = va.Options(
            address,
            concurrent,
            gpus_per_trial,
            tracking_uri,
            checkpoint_seconds=checkpoint_seconds,
            fuse_seeds=fuse_seeds,
            gpus=gpu_names(gpus),
            share_gpus=share_gpus,
            patience=60 * patience,
        )
        # A dry run reads the home and makes nothing, not even the home.
        if dry_run:
            preview = va.preview_search(
                searched,
                store,
                study=study,
                home=named_home(home),
                options=options,
                warm_start=warm_start or (),
            )
            show_preview(output, preview, searched)
            return
        opened = va.open_home(home)
        recipe = recipe_for(study, searched.folds, store)

        search_it = partial(
            va.run_search,
            searched,
            store,
            study=study,
            home=opened,
            options=options,
            warm_start=warm_start or (),
            stop_after=stop_after,
            notify=notify,
            join=join,
        )
        following = opened.files.command("ensemble", study, *recipe)
        output.done(vars(run(output, opened, search_it, following)))


def seconds_of(text: str) -> float:
    """A duration such as 90m, 1h30m, 2d or 5400 (seconds), in seconds."""
    match = DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        allowed = "expected a time such as 90m, 1h30m, 2d or 5400 (seconds)"
        raise typer.BadParameter(f"found {text!r}, {allowed}")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total <= 0:
        raise typer.BadParameter(f"found {text!r}, expected a time above 0")
    return total


def run(
    output: Output,
    home: OpenHome,
    search_it: Callable[..., OpenStudy],
    following: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Summary:
    """Search with progress on standard error, then show how it ended, and the command that may
    follow if a trial is complete.

    `search_it` searches, with the keywords `progress` and `note` (the output's unless it is given).
    Unfinished is raised after the
    search's end is shown."""
    from va_search.search.summary import Unfinished

    name_home(home.files)
    # An unfinished search is raised again only after its end is shown, as that of any other.
    problem = None
    with search_progress() as watch:
        try:
            summary = search_it(progress=watch, note=note or output.note).summary
            assert summary is not None
        except Unfinished as error:
            summary, problem = error.summary, error
    show_summary(output, summary, home.files)
    if following is not None and summary.complete:
        output.show(f"next: {following}")
    if problem is not None:
        output.done({**vars(summary), "error": str(problem), "exit_code": problem.exit_code})
        raise problem
    return summary


@contextmanager
def unfinished_shown(output: Output) -> Iterator[None]:
    """Context in which an unfinished search ends the command with its summary as the document."""
    from va_search.search.summary import Unfinished

    try:
        yield
    except Unfinished as error:
        output.done({**vars(error.summary), "error": str(error), "exit_code": error.exit_code})
        raise


def show_summary(output: Output, summary: Summary, home: Home) -> None:
    """Show how a search ended, in a few lines."""
    from va_search.search.study import Study

    for line in summary_lines(summary, home):
        output.show(line)
    page = Study(home, summary.study).trials_page
    if page is not None:
        for line in page.lines:
            output.show(line)


def show_preview(output: Output, preview: Preview, space: Space) -> None:
    """Show what a search would do: the plan, the study's state, the first trials to come."""
    from va_search.cli.plan import show_plan

    for warm in preview.warm_start:
        output.show(warm_start_text(**warm))
    for change in preview.changes:
        output.show(f"space changed: {change}")
    show_plan(output, preview.plan, space)
    output.show(f"study      {preview.study}: {_counts_text(preview)}")
    if preview.reason:
        output.show(f"           none would begin: {preview.reason}")
    words = {"failed": "failed before", "begun": "begun before", "new": "new"}
    counts = [f"{count} {words[status]}" for status, count in preview.statuses.items()]
    if counts:
        chosen = ", then as the sampler chooses" if space.sampler_learns else ""
        output.show(f"first      {', '.join(counts)}{chosen}")
    for trial in preview.next[:PREVIEWED]:
        settings = [f"{name} {value}" for name, value in trial["settings"].items()]
        output.show(f"  {trial['trial']}  {trial['status']:6}  {', '.join(settings)}")
    if len(preview.next) > PREVIEWED:
        output.show(f"  … and {len(preview.next) - PREVIEWED:,} more, which --json lists")
    output.done({**vars(preview), "plan": vars(preview.plan)})


def _counts_text(preview: Preview) -> str:
    """Trials that are complete, taken from other studies, and to train."""
    text = f"{preview.complete} complete"
    if preview.elsewhere:
        text += f", {preview.elsewhere} taken from other studies"
    if preview.to_train is None:
        return f"{text}, as many as the time allows to train"
    return f"{text}, {preview.to_train:,} to train"


def recipe_for(study: str, folds: list[int | str], store: Store) -> list[str]:
    """The options of `va-search ensemble` that suit what was searched: a score to choose by, all
    folds, or none."""
    if folds == ["train_val_mix"]:
        return ["--recipe", "paper/train_val_mix", "--name", f"{study}-mix"]
    every = {store.canonical_fold(number) for number in store.fold_numbers}
    if len(every) > 1 and every <= set(folds):
        return ["--recipe", "over_folds", "--name", f"{study}-folds"]
    return ["--name", f"{study}-best"]
