"""`va-search plan`: what a search would cost, before a minute is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration
from va_search.cli.places import opened

if TYPE_CHECKING:
    from va_search.search.plan import Plan
    from va_search.search.space import Space

EXAMPLE = "Example: va-search plan search_spaces/any.yaml --data stores/mine"


def plan(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    data: Annotated[str, typer.Option("--data", help="The store to train on, a folder or a URL.")],
    home: HomeOption = DEFAULT_HOME,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Trials side by side; default: one a core.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the trials of a space and estimate their time; trains a few batches, starts nothing else."""
    with command(as_json) as output, opened(home) as at:
        from va_search.data.store import Store
        from va_search.search.plan import make_plan
        from va_search.search.space import load_space

        store = Store.open(data)
        searched = load_space(space, store)
        made = make_plan(at, searched, store, concurrent)
        show_plan(output, made, searched)
        output.done({"space": str(space), "store": str(data), **vars(made)})


def show_plan(output: Output, made: Plan, searched: Space) -> None:
    """What a search has to do, in a few lines."""
    from va_search.data.store import MIX

    size = "endless (it has a float)"
    if made.configurations is not None:
        size = f"{'' if made.exact else 'at most '}{made.configurations:,} configurations"
    folds = ", ".join(map(str, made.folds))
    output.show(f"space      {size}, {len(made.seeds)} seeds, {len(made.folds)} folds ({folds})")
    trials = "as many as the time allows" if made.trials is None else f"{made.trials:,}"
    output.show(f"trials     {trials}, sampler {searched.sampler}; {made.complete} complete already")
    if searched.budget.trials is not None and made.trials is not None and made.trials > searched.budget.trials:
        whole = f"whole configurations of {made.trials_each} trials"
        output.show(f"           budget.trials {searched.budget.trials} is rounded up to {whole}")
    if MIX in made.folds:
        output.show(f"           on fold {MIX} nothing is validated: those trials predict test and have no score")
    known = "not known" if made.seconds_per_trial is None else f"about {duration(made.seconds_per_trial)} at most"
    output.show(f"one trial  {known} ({made.basis})")
    end = "no end" if made.seconds_per_trial is not None else "not known"
    whole = end if made.seconds is None else f"about {duration(made.seconds)} at most"
    output.show(f"in all     {whole}, {made.concurrent} trials side by side")
