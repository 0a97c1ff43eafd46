"""`va-search study`: the studies of a home, listed, renamed, removed, cleaned, compared, carried
elsewhere."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_home, check_studies
from va_search.cli.contents import size_text, studies_table
from va_search.cli.options import TrackingUriOption
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home, opened
from va_search.errors import InputError, counted
from va_search.table import (
    DASH,
    Table,
    columns,
    number,
    row,
    signed_with_interval,
    with_interval,
)

if TYPE_CHECKING:
    from va_search.api.comparing import StudyComparison
    from va_search.api.contents import StudyEntry, StudySizes
    from va_search.api.studies import Cleaning

app = typer.Typer(
    help="Keep house: list, show, rename, remove, clean, compare, export and import studies.",
    no_args_is_help=True,
)

StudyArgument = Annotated[str, typer.Argument(help="The study's name.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Don't ask; needed where nobody can be asked.")
]


@app.command(name="list", epilog="Example: va-search study list")
def list_(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the home's studies: state, trials, best score, size on the disk, age, ensembles."""
    with command(as_json) as output, named_home(home).using() as opened_home:
        from va_search.api.contents import list_studies

        check_home(opened_home.files)
        studies = list_studies(home=opened_home)
        if studies:
            output.show(studies_table(studies))
        output.show(counted(len(studies), "study", "studies"))
        for study in studies:
            _show_problems(output, study)
        output.done({"studies": [_document(study) for study in studies]})


@app.command(epilog="Example: va-search study show first")
def show(
    study: StudyArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False
) -> None:
    """Show one study: its trials, sizes by kind of file, and what depends on it."""
    with command(as_json) as output, opened(home) as files:
        from va_search.api.contents import study_entry
        from va_search.api.dependents import Dependents

        check_studies(files, [study], lambda _, of: files.command("study", "show", of[0]))
        entry = study_entry(files, study)
        output.show(studies_table([entry]))
        output.show(_sizes_table(entry.sizes))
        dependents = Dependents.of(files, study)
        for sentence in dependents.sentences():
            output.show(sentence)
        _show_problems(output, entry)
        output.done({**_document(entry), "dependents": asdict(dependents)})


@app.command(epilog="Example: va-search study rename first pilot")
def rename(
    study: StudyArgument,
    to: Annotated[str, typer.Argument(help="The new name.")],
    tracking_uri: TrackingUriOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Give a study another name in everything that refers to it: trials, ensembles, studies that
    learn from it, MLflow. After a kill the same command again ends it."""
    with command(as_json) as output:
        from va_search.api.studies import rename_study

        remarks = rename_study(study, to, home=named_home(home), tracking_uri=tracking_uri)
        output.show(f"study {study} is called {to} now")
        for remark in remarks:
            output.show(remark)
        output.done({"study": study, "to": to, "remarks": remarks})


@app.command(epilog="Example: va-search study remove first --yes")
def remove(
    study: StudyArgument,
    *,
    with_dependents: Annotated[
        bool,
        typer.Option("--with-dependents", help="Remove the ensembles of its trials as well."),
    ] = False,
    yes: YesOption = False,
    tracking_uri: TrackingUriOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Remove a study with all its trials, after showing its size and what depends on it. Trials that
    other studies took over stay whole."""
    with command(as_json) as output:
        from va_search.api.studies import plan_removal, remove_study

        opened_home = named_home(home)
        removal = plan_removal(study, with_dependents=with_dependents, home=opened_home)
        for sentence in removal.dependents.sentences():
            output.show(sentence)
        free = removal.sizes.total.own
        _ask(output, f"remove study {study} for good ({size_text(free)} on the disk)?", yes)
        remarks = remove_study(
            study, with_dependents=with_dependents, home=opened_home, tracking_uri=tracking_uri
        )
        output.show(f"removed study {study}: {size_text(free)} are free")
        for remark in remarks:
            output.show(remark)
        output.done({"study": study, "freed": free, "remarks": remarks})


@app.command(epilog="Example: va-search study clean first --yes")
def clean(
    study: StudyArgument,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Remove the weights of trials that no ensemble is made of, and the checkpoints of trials that
    were begun. Scores and predictions stay."""
    with command(as_json) as output:
        from va_search.api.studies import clean_study, plan_cleaning

        opened_home = named_home(home)
        plan = plan_cleaning(study, home=opened_home)
        for line in _cleaning_lines(plan):
            output.show(line)
        if not plan.trials and not plan.checkpoints:
            output.done(asdict(plan) | {"freed": 0})
            return
        _ask(output, f"remove these ({size_text(plan.freed)} on the disk)?", yes)
        cleaning = clean_study(study, home=opened_home)
        output.show(f"cleaned study {study}: {size_text(cleaning.freed)} are free")
        output.done(asdict(cleaning) | {"freed": cleaning.freed})


@app.command(epilog="Example: va-search study export first --to first.zip")
def export(
    study: StudyArgument,
    *,
    to: Annotated[Path, typer.Option("--to", help="The zip file to write; it must not exist.")],
    weights: Annotated[
        bool, typer.Option(help="With the trials' weights; without them it is smaller.")
    ] = True,
    ensembles: Annotated[
        bool, typer.Option("--ensembles", help="With the ensembles made of this study alone.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a study to one file, which `study import` takes in elsewhere: trials, settings,
    failures. The store is not in it."""
    with command(as_json) as output:
        from va_search.api.exporting import export_study

        exported = export_study(
            study, to, weights=weights, ensembles=ensembles, home=named_home(home)
        )
        trials = counted(exported.trials, "trial")
        output.show(f"wrote study {study} to {to}: {trials}, {size_text(exported.bytes)}")
        if exported.ensembles:
            output.show(f"with it: ensemble {', '.join(exported.ensembles)}")
        output.done(asdict(exported))


@app.command(name="import", epilog="Example: va-search study import first.zip --as theirs")
def import_(
    file: Annotated[Path, typer.Argument(help="A file of `study export`.")],
    *,
    name: Annotated[
        str | None, typer.Option("--as", help="The study's name here; default: its own.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a study in from a file; every file in it is checked first, and nothing is replaced.
    After a kill the same command again ends it."""
    with command(as_json) as output:
        from va_search.api.archives import import_study

        opened_home = named_home(home)
        imported = import_study(file, name=name, home=opened_home)
        trials = counted(imported.trials, "trial")
        output.show(f"study {imported.study}: {trials} taken in, {size_text(imported.bytes)}")
        if imported.ensembles:
            output.show(f"with it: ensemble {', '.join(imported.ensembles)}")
        output.show(f"next: {opened_home.files.command('status', imported.study)}")
        output.done(asdict(imported))


@app.command(epilog="Example: va-search study compare first second")
def compare(
    first: StudyArgument,
    second: Annotated[str, typer.Argument(help="The other study's name.")],
    *,
    data: Annotated[
        str | None, typer.Option("--data", help="The store; default: the one of the trials.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Compare two studies on what they share: the same configurations on the same folds and seeds,
    the best of each fold by fold and person by person, and ensembles of each alone."""
    with command(as_json) as output:
        from va_search.api.comparing import compare_studies

        comparison = compare_studies(first, second, store=data, home=named_home(home))
        output.show(_comparison_table(comparison))
        for score in comparison.ensembles:
            interval = with_interval(score.score, score.interval)
            output.show(f"ensemble {score.name} of study {score.study}: {interval}, out-of-fold")
        output.done(asdict(comparison))


def _comparison_table(comparison: StudyComparison) -> Table:
    """One row for each kind of pairs."""
    best, same = comparison.best, comparison.same_trials
    lines = [("same configuration, fold and seed", comparison.trials)]
    notes = [f"{counted(comparison.configurations, 'configuration')} in both studies"]
    if same:
        notes.append(f"{counted(same, 'trial')} in both are the same training: left out")
    if best is None:
        notes.append("no configuration of each study has all folds and seeds that both have")
    else:
        names = [
            f"{name}/{trial}" for name, trial in zip(comparison.studies, best.trials, strict=True)
        ]
        scores = [number(score) for score in best.scores]
        notes.append(f"best configurations: {names[0]} ({scores[0]}), {names[1]} ({scores[1]})")
        lines.append(("best configuration of each, by fold and seed", best.cells))
        if best.people is not None:
            lines.append(("best configuration of each, by person", best.people))
        else:
            notes.append(f"not compared by person: {best.reason}")
    rows = []
    for name, pairs in lines:
        p = DASH if pairs.p is None else f"{pairs.p:.3f}"
        won = f"{pairs.better:,} : {pairs.worse:,}"
        difference = signed_with_interval(pairs.mean, pairs.interval)
        rows.append(row(name, f"{pairs.pairs:,}", difference, won, p))
    heads = columns("Pairs", "Difference (95 %)", "Better : worse", "p (Wilcoxon)", kind="number")
    title = f"Study {comparison.studies[0]} less study {comparison.studies[1]} (score: mean CCC, in-sample)"
    return Table(title, (*columns("Paired by"), *heads), tuple(rows), notes=tuple(notes))


def _cleaning_lines(plan: Cleaning) -> list[str]:
    """Sentences on what is removed, what stays, and what is not possible afterwards."""
    if not plan.trials and not plan.checkpoints:
        return [f"study {plan.study}: no weights and no checkpoints that could go"]
    lines: list[str] = []
    if plan.trials:
        trials = counted(len(plan.trials), "trial")
        lines.append(
            f"weights of {trials} that no ensemble is made of: {size_text(plan.weights.bytes)}; "
            "without them these predict no new recordings (predict, register), and all else stays: "
            "scores, predictions, ensembles to come, training again (refit)"
        )
    if plan.weights.shared:
        shared = size_text(plan.weights.shared)
        lines.append(f"{shared} of this are other studies' trials as well, and stay there")
    if plan.checkpoints:
        begun = counted(len(plan.checkpoints), "trial")
        size = size_text(plan.checkpoint_size.bytes)
        lines.append(f"checkpoints of {begun} that began and did not end: {size}; they begin anew")
    if plan.kept:
        lines.append(f"weights of {counted(len(plan.kept), 'trial')} stay: ensembles need them")
    return lines


def _ask(output: Output, question: str, yes: bool) -> None:
    """Ask the user; InputError where nobody can be asked and --yes is missing."""
    if yes:
        return
    if output.as_json or not sys.stdin.isatty():
        raise InputError(f"{question} Nobody can be asked here: add --yes")
    typer.confirm(question, abort=True)


def _sizes_table(sizes: StudySizes) -> Table:
    kinds = {
        "predictions": sizes.predictions,
        "weights": sizes.weights,
        "checkpoints": sizes.checkpoints,
        "documents": sizes.documents,
        "in all": sizes.total,
    }
    rows = []
    for name, size in kinds.items():
        kind = "total" if name == "in all" else "plain"
        rows.append(row(name, size_text(size.bytes), size_text(size.shared), kind=kind))  # type: ignore[arg-type]
    heads = (*columns("Files"), *columns("Size", "Other studies have too", kind="number"))
    return Table("On the disk", heads, tuple(rows))


def _show_problems(output: Output, study: StudyEntry) -> None:
    for problem in study.problems:
        output.show(f"study {study.study}: {problem}")


def _document(study: StudyEntry) -> dict[str, object]:
    """Plain data for JSON: budget and `ends_first` as `va-search status --json` has them."""
    total, progress = study.sizes.total, study.progress
    plain = asdict(progress)
    del plain["accounts"]
    return {
        **plain,
        "budget": {account.name: account.to_json() for account in progress.accounts},
        "ends_first": progress.ends_first[0].name if progress.ends_first else None,
        "best_score": study.best_score,
        "bytes": total.bytes,
        "bytes_shared": total.shared,
        "sizes": asdict(study.sizes),
        "began_at": study.began_at,
        "last_at": study.last_at,
        "ensembles": list(study.ensembles),
        "pending": study.pending,
    }
