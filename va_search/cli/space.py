"""`va-search space`: a search space made from a study's own trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home

EXAMPLE = (
    "Example: va-search space first --best 5 --folds all --out next.yaml; "
    "or va-search space first --ablate features --out ablation.yaml"
)


def space(
    names: Annotated[
        list[str],
        typer.Argument(metavar="STUDY…", help="Studies of one store, or an ensemble: its members."),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="The YAML file to write.")],
    best: Annotated[
        int | None,
        typer.Option(min=1, help="So many of the best configurations; default: the best one."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Best by score (the mean over targets), or by a target.")
    ] = "score",
    folds: Annotated[
        str | None,
        typer.Option(help="all, official, train_val_mix, or numbers such as 0,1."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="So many seeds of each configuration.")
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(
            metavar="SETTING",
            help="Vary one setting: features (all, all but each, each alone), encoder, or any other.",
        ),
    ] = None,
    around: Annotated[
        str | None,
        typer.Option(
            metavar="best|TRIAL", help="Vary the numbers of one configuration near its own values."
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study to come; default: a free one.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The store, where it was moved.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another file.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the next search space, made from a study's own trials: its best configurations on all
    folds or with more seeds, an ablation, or the values around the best one."""
    with command(as_json) as output:
        from va_search.api.spaces import make_space

        made = make_space(
            names,
            best=best,
            by=by,
            folds=folds,
            seeds=seeds,
            ablate=ablate,
            around=around,
            name=study,
            store=data,
            home=named_home(home),
        )
        path = made.write(out, force=force)
        output.show(f"{path}: {made.size}")
        for sentence in made.head:
            output.show(sentence)
        following = None
        if made.is_complete:
            output.show("nothing to train: --folds, --seeds, --ablate or --around add trials")
        else:
            following = made.command(path)
            output.show(f"next: {following}")
        output.done(
            {
                "out": str(path),
                "store": made.store.place,
                "study": made.name,
                "trials": made.trials,
                "complete": made.complete,
                "seconds": made.seconds,
                "space": made.document,
                "command": following,
            }
        )
