"""`va-search plan`: what a search would cost, before a minute is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import duration
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from va_search.data.baselines import QuickBaselines
    from va_search.search.configurations import Space
    from va_search.search.plan import Plan

EXAMPLE = "Example: va-search plan search_spaces/any.yaml --data stores/mine"


def plan(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    data: Annotated[str, typer.Option("--data", help="The store to train on, a folder or a URL.")],
    home: HomeOption = DEFAULT_HOME,
    concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="How many trials run at the same time; default: one per core."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the trials of a space and estimate their time, from a few seconds of training or from
    finished trials."""
    with command(as_json) as output:
        import va_search as va

        opened = named_home(home)
        store = va.open_store(data)
        searched = va.load_space(space, store)
        options = va.Options(concurrent=concurrent)
        planned = va.make_plan(searched, store, home=opened, options=options)
        show_plan(output, planned, searched)
        document = {"space": str(space), "store": str(data), **vars(planned)}
        if planned.baselines is not None:
            document["baselines"] = planned.baselines.to_json()
        output.done(document)


def show_plan(output: Output, plan: Plan, space: Space) -> None:
    """Print what a search has to do, in a few lines."""
    from va_search.data.store import MIX

    for remark in plan.remarks:
        output.show(f"note       {remark}")
    output.show(f"space      {size_text(plan, space)}")
    trials = "as many as the time allows" if plan.trials is None else f"{plan.trials:,}"
    output.show(f"trials     {trials}, sampler {space.sampler}; {plan.complete} complete already")
    budget = space.budget.trials
    if plan.exact and budget is None and plan.has_equal_seeds:
        output.show("           seeds of a model that draws nothing (ridge) are one trial")
    if budget is not None and plan.trials is not None and plan.trials > budget:
        whole = f"whole configurations of {plan.trials_each} trials"
        output.show(f"           budget.trials {budget} is rounded up to {whole}")
    if MIX in plan.folds:
        unscored = "nothing is validated: those trials predict test and have no score"
        output.show(f"           on fold {MIX} {unscored}")
    if plan.steps:
        output.show(f"steps      {plan.steps}")
    known = "not known"
    if plan.seconds_per_trial is not None:
        known = f"about {duration(plan.seconds_per_trial)}"
    output.show(f"one trial  {known} ({plan.basis})")
    output.show(f"in all     {whole_text(plan, space)}")
    if plan.hours is not None:
        end = f"after {duration(plan.hours * 3600)} no trial begins"
        output.show(f"hours      {plan.hours:g}: {end}; those that run are trained to their end")
    if plan.expected:
        output.show(f"budget     {budget_text(plan)}")
    if plan.baselines is not None:
        show_baselines(output, plan.baselines)


def budget_text(plan: Plan) -> str:
    """The budget's accounts at the end of the search, as expected, and the one that ends it."""
    from va_search.search.spending import IN_WORDS, Account, accounts_text

    kept = [Account.from_json(name, document) for name, document in plan.expected.items()]
    text = f"expected: {accounts_text(kept)}"
    if plan.ends_first is None:
        return text
    words = IN_WORDS[plan.ends_first]
    return f"{text}; {words} {'end' if words.endswith('s') else 'ends'} first"


def show_baselines(output: Output, baselines: QuickBaselines) -> None:
    """Print the CCCs that nobody has to train for, a line each."""
    from va_search.data.baselines import TITLES

    if not baselines.scores:
        return
    folds = "the official split"
    if baselines.keys != ("official",):
        noun = "fold" if len(baselines.keys) == 1 else "folds"
        folds = f"{noun} {', '.join(map(str, baselines.keys))}"
    output.show(f"to beat    CCC on {folds} without any training:")
    for baseline in baselines.scores:
        cccs = [f"{target} {number(value)}" for target, value in baseline.cccs.items()]
        output.show(f"           {baseline.title}: {', '.join(cccs)}")
    for name in baselines.left_out:
        output.show(
            f"           {TITLES[name]}: left out, it takes longer than {baselines.seconds:g} s; "
            "`va-search ensemble` shows it"
        )


def size_text(plan: Plan, space: Space) -> str:
    """Configurations, seeds and folds, each with its number."""
    seeds, folds = counted(len(plan.seeds), "seed"), counted(len(plan.folds), "fold")
    beside = f"× {seeds} × {folds} ({', '.join(map(str, plan.folds))})"
    if plan.configurations is None:
        endless = []
        for name, setting in space.settings.items():
            if setting.domain.count() is None:
                endless.append(name)
        reason = f"{', '.join(endless)}: a range of decimal numbers"
        return f"unlimited configurations ({reason}) {beside}"
    most = "" if plan.exact else "at most "
    return f"{most}{counted(plan.configurations, 'configuration')} {beside}"


def whole_text(plan: Plan, space: Space) -> str:
    """The time of the whole search, and what it depends on."""
    side_by_side = "1 trial at a time"
    if plan.concurrent != 1:
        side_by_side = f"{plan.concurrent} trials side by side"
    if plan.seconds is None:
        end = "until the hours are spent, or it is stopped"
        if plan.seconds_per_trial is None:
            end = "not known"
        return f"{end}, {side_by_side}"
    ends_early = space.early_stopping is not None or "patience" in space.settings
    less = ", less where trials end early" if ends_early else ""
    return f"about {duration(plan.seconds)} on an idle machine, {side_by_side}{less}"
