"""`va-search plan`: what a search would cost, before a minute is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import opened

if TYPE_CHECKING:
    from va_search.search.configurations import Space
    from va_search.search.plan import Plan

EXAMPLE = "Example: va-search plan search_spaces/any.yaml --data stores/mine"


def plan(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    data: Annotated[str, typer.Option("--data", help="The store to train on, a folder or a URL.")],
    home: HomeOption = DEFAULT_HOME,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials side by side; default: one a core.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the trials of a space and estimate their time from a few trained batches or finished
    trials."""
    with command(as_json) as output, opened(home) as at:
        from va_search.data.store import Store
        from va_search.search.machine import Options
        from va_search.search.plan import make_plan
        from va_search.search.space import load_space

        store = Store.open(data)
        searched = load_space(space, store)
        made = make_plan(at, searched, store, Options(concurrent=concurrent))
        show_plan(output, made, searched)
        output.done({"space": str(space), "store": str(data), **vars(made)})


def show_plan(output: Output, made: Plan, searched: Space) -> None:
    """Print what a search has to do, in a few lines."""
    from va_search.data.store import MIX

    for remark in made.remarks:
        output.show(f"note       {remark}")
    output.show(f"space      {size_text(made, searched)}")
    trials = "as many as the time allows" if made.trials is None else f"{made.trials:,}"
    output.show(
        f"trials     {trials}, sampler {searched.sampler}; {made.complete} complete already"
    )
    if (
        searched.budget.trials is not None
        and made.trials is not None
        and made.trials > searched.budget.trials
    ):
        whole = f"whole configurations of {made.trials_each} trials"
        output.show(f"           budget.trials {searched.budget.trials} is rounded up to {whole}")
    if MIX in made.folds:
        output.show(
            f"           on fold {MIX} nothing is validated: those trials predict test and have no score"
        )
    known = (
        "not known"
        if made.seconds_per_trial is None
        else f"about {duration(made.seconds_per_trial)}"
    )
    output.show(f"one trial  {known} ({made.basis})")
    output.show(f"in all     {whole_text(made, searched)}")
    if made.hours is not None:
        until = f"after {duration(made.hours * 3600)} no trial begins; those that run are trained to their end"
        output.show(f"hours      {made.hours:g}: {until}")


def size_text(made: Plan, searched: Space) -> str:
    """Configurations, seeds and folds, each with its number."""
    seeds = "1 seed" if len(made.seeds) == 1 else f"{len(made.seeds)} seeds"
    folds = "1 fold" if len(made.folds) == 1 else f"{len(made.folds)} folds"
    beside = f"× {seeds} × {folds} ({', '.join(map(str, made.folds))})"
    if made.configurations is None:
        ranges = [
            name for name, setting in searched.settings.items() if setting.domain.count() is None
        ]
        return (
            f"unlimited configurations ({', '.join(ranges)}: a range of decimal numbers) {beside}"
        )
    configurations = (
        "1 configuration" if made.configurations == 1 else f"{made.configurations:,} configurations"
    )
    return f"{'' if made.exact else 'at most '}{configurations} {beside}"


def whole_text(made: Plan, searched: Space) -> str:
    """The time of the whole search, and what it depends on."""
    side_by_side = (
        "1 trial at a time" if made.concurrent == 1 else f"{made.concurrent} trials side by side"
    )
    if made.seconds is None:
        end = (
            "not known"
            if made.seconds_per_trial is None
            else "until the hours are spent, or it is stopped"
        )
        return f"{end}, {side_by_side}"
    ends_early = searched.early_stopping is not None or "patience" in searched.settings
    less = ", less where trials end early" if ends_early else ""
    return f"about {duration(made.seconds)} on an idle machine, {side_by_side}{less}"
