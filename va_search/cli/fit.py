"""`va-search fit`: search, choose, and train again on everything, in one command."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from va_search.cli.ensemble_tables import show, show_verdict
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
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command

EXAMPLE = "Example: va-search fit any --data stores/mine --name mine --out mine-submission"


def fit(
    space: Annotated[
        Path, typer.Argument(help="The search space: a YAML file, or one that comes along (any).")
    ],
    *,
    data: Annotated[str, typer.Option("--data", help="The store, a folder or a URL.")],
    name: Annotated[
        str,
        typer.Option("--name", help="Name of the ensemble; the same name again goes on with it."),
    ],
    hours: Annotated[
        float | None,
        typer.Option(min=0.01, help="Hours of stages 1 and 2; default: the space's budget."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of the search; default: the space's budget.")
    ] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option("--gpu-hours", help="GPU-hours that the trials of stages 1 and 2 may take."),
    ] = None,
    money: Annotated[
        float | None,
        typer.Option(help="Money for stages 1 and 2, at the rates of the next two options."),
    ] = None,
    cost_per_gpu_hour: Annotated[
        float | None, typer.Option(help="What an hour of a GPU costs, in any currency.")
    ] = None,
    cost_per_core_hour: Annotated[
        float | None, typer.Option(help="What an hour of a processor core costs.")
    ] = None,
    worth: WorthOption = None,
    match: Annotated[
        bool,
        typer.Option(
            help="Scale and shift the test predictions to the mean and spread of all labelled "
            "frames; no test label is read.",
        ),
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the test predictions, a CSV per recording.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    concurrent: ConcurrentOption = None,
    gpus: GpusOption = None,
    gpus_per_trial: GpusPerTrialOption = None,
    share_gpus: ShareGpusOption = False,
    address: ClusterOption = None,
    tracking_uri: TrackingUriOption = None,
    patience: PatienceOption = 10.0,
    notify: NotifyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a space, race the best configurations over the store's folds, choose the best ensemble,
    and train its members again on everything labelled: the whole way from a store to test
    predictions. The same command again goes on where it stopped."""
    with command(as_json) as output:
        import va_search as va
        from va_search.api.fitting import but_changes, plan_fit
        from va_search.api.notify import notifying
        from va_search.cli.search import run
        from va_search.report.tables.ensemble import scores_tables

        options = va.Options(
            address,
            concurrent,
            gpus_per_trial,
            tracking_uri,
            gpus=gpu_names(gpus),
            share_gpus=share_gpus,
            patience=60 * patience,
        )
        budget = {
            "gpu_hours": gpu_hours,
            "money": money,
            "cost_per_gpu_hour": cost_per_gpu_hour,
            "cost_per_core_hour": cost_per_core_hour,
            "worth": worth,
        }
        fitting = plan_fit(
            space,
            data,
            name=name,
            home=home,
            hours=hours,
            trials=trials,
            budget=budget,
            options=options,
        )
        opened = fitting.home
        with (
            opened.using("predictions", writes=True),
            notifying(notify, name, output.note) as notifier,
        ):
            output.show(fitting.search_text)
            run(output, opened, partial(fitting.search, notify=notifier))
            if fitting.no_race_text is not None:
                output.show(fitting.no_race_text)
            for fold_round in fitting.rounds():
                output.show(fold_round.text)
                run(output, opened, fold_round.train, note=but_changes(output.note))
            study, recipe = fitting.choice
            output.show(
                f"3 of 4, choose: ensemble {fitting.chosen_name} of study {study}, recipe {recipe}"
            )
            chosen = fitting.choose(output.note)
            for table in scores_tables(chosen.document):
                output.show(table)
            output.show(chosen.verdict.without_advice)
            output.show(f"4 of 4, train again on everything labelled: study {name}")
            run(output, opened, lambda **watching: fitting.train_again(chosen, **watching))
            ensemble = fitting.finish(chosen, match=match)
        show(output, ensemble.document)
        output.show(f"saved {opened.files.ensemble(name)}")
        if out is not None:
            written = ensemble.submit(out)
            output.show(f"wrote {written.folder}: test predictions, read back and checked")
        block = ensemble.judged()
        # With --out its submission is written: to write it again is no next step.
        show_verdict(output, block, done=None if out is None else block.next_command)
        output.done({**ensemble.document.model_dump(mode="json"), "verdict": block.document()})
        output.note("logging to MLflow …")
        ensemble.track(tracking_uri, note=output.note)
