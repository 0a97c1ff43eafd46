"""`va-search status`: what a home holds, and where a study stands, read from its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.api.home import check_studies
from va_search.api.progress import duration, standing_text
from va_search.cli.contents import show_contents
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.cli.ranking import ranking_document, ranking_tables
from va_search.cli.watch import watch_study
from va_search.errors import counted

if TYPE_CHECKING:
    from va_search.api.ranking import Ranking
    from va_search.data.store import Store
    from va_search.home import Home
    from va_search.report.standing import StudyProgress
    from va_search.search.fold_table import FoldRow
    from va_search.tracking.links import TrialsPage
    from va_search.trial import Trial

EXAMPLE = (
    "Example: va-search status first --by valence; without a name: the home's studies and ensembles"
)

AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Ask the head of a cluster, through the tunnel of `ray dashboard`: http://127.0.0.1:8265."
    ),
]


def status(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Argument(
            help="The study's name; without one, the home's studies and ensembles are listed."
        ),
    ] = None,
    *,
    home: HomeOption = DEFAULT_HOME,
    best: Annotated[int, typer.Option(min=1, help="How many of the best trials to show.")] = 10,
    by: Annotated[
        str,
        typer.Option(
            "--by", help="Measure that ranks the trials: score, one of the targets, or seconds."
        ),
    ] = "score",
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show how a study goes until all is trained, or Ctrl-C."),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between two looks.")
    ] = 2.0,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study's best trials with the settings that vary, what decided, failed trials and the
    scores of each fold, also while it is being searched. Without a name: what the home holds."""
    if watch:
        with command(as_json) as output:
            watch_study(output, home, study, every, address)
        return
    if address is not None:
        # Only a home that was typed is meant for the head: this machine's own one is not there.
        was_typed = getattr(context.get_parameter_source("home"), "name", "") == "COMMANDLINE"
        words = ["--best", str(best), *([] if by == "score" else ["--by", by])]
        words += ["--home", home] if was_typed else []
        _ask_head(address, [*([] if study is None else [study]), *words], as_json)
        return
    with command(as_json) as output, named_home(home).using() as opened_home:
        if study is None:
            show_contents(output, opened_home)
        else:
            _show_study(output, opened_home.files, study, best, by)


# One study ----------------------------------------------------------------------------------------


def _show_study(output: Output, home: Home, name: str, best: int, by: str) -> None:
    from va_search.data.store import OFFICIAL
    from va_search.report.standing import progress_of
    from va_search.report.tables.trials import pareto_table
    from va_search.search.outcomes import pareto
    from va_search.search.study import Study

    study = Study(home, name)
    if study.exists():
        document = study.document()
    else:
        check_studies(home, [name], lambda _, studies: home.command("status", studies[0]))
        # A study that has models from elsewhere only was never searched and has no document.
        document = {"study": name, "space": {}, "seconds": 0.0}
    space, store = document["space"], _store(document.get("store_path"))
    # Records are read once here; everything below is shown out of them.
    trials = list(study.bank.each_trial(name))
    failures = study.failures()
    progress = progress_of(home, name, trials, failures)
    output.show(standing_text(progress, document["seconds"]))
    if progress.accounts:
        output.show(budget_text(progress))
    if progress.gain is not None:
        members = counted(progress.gain.trials, "trial")
        output.show(f"worth: the ensemble of {members} would gain {progress.gain.text}")
    if progress.pause is not None:
        output.show(f"paused: {progress.pause}")
    if progress.tracking is not None:
        output.show(f"tracking: {progress.tracking}")
    page = study.trials_page
    _show_page(output, page)
    scored = [trial for trial in trials if trial.best]
    ranking = _ranked(output, scored, by, store)
    for table in ranking_tables(ranking, best):
        output.show(table)
    unscored = len(trials) - len(scored)
    if unscored:
        have = f"{counted(unscored, 'trial')} {'has' if unscored == 1 else 'have'}"
        output.show(f"{have} no validation (train_val_mix): test predictions only")
    folds = _show_folds(output, space.get("folds", [OFFICIAL]), store, trials, failures)
    for failure in failures:
        # The whole traceback is in the study's folder and in --json.
        if failure.failure is not None:
            output.show(f"failed {failure.id}: {failure.failure.reason}")
    front = None
    if space.get("objective") == "both":
        front = pareto(trials)
    if front:
        output.show(pareto_table(front))
    # Histories and settings of thousands of trials would make the document unreadable.
    documents = [trial.to_json() for trial in trials]
    scores = [{key: each[key] for key in ("trial", "source", "best")} for each in documents]
    output.done(
        {
            **document,
            "complete": scores,
            "failed": [trial.to_json() for trial in failures],
            "searching": progress.searching,
            "processes": progress.processes,
            "planned": progress.planned,
            "running": progress.running,
            "seconds_left": progress.seconds_left,
            "tracking": progress.tracking,
            "mlflow": None if page is None else asdict(page),
            "pause": progress.pause,
            "budget": {account.name: account.to_json() for account in progress.accounts},
            "gain": None if progress.gain is None else asdict(progress.gain),
            "ends_first": progress.ends_first[0].name if progress.ends_first else None,
            "folds": [{**asdict(result), "complete": result.complete} for result in folds],
            "pareto": front,
            **ranking_document(ranking, best),
        }
    )


def _show_page(output: Output, page: TrialsPage | None) -> None:
    """Show where MLflow lists the trials; nothing where it does not have the study."""
    if page is not None:
        for line in page.lines:
            output.show(line)


def budget_text(progress: StudyProgress) -> str:
    """The study's budget in a line: what is spent of what, and what ends first at this pace."""
    from va_search.search.spending import IN_WORDS, accounts_text

    text = f"budget: {accounts_text(progress.accounts)}"
    if progress.ends_first is None:
        return text
    account, seconds = progress.ends_first
    words = IN_WORDS[account.name]
    if account.is_exhausted:
        return f"{text}; {words} {'are' if words.endswith('s') else 'is'} spent"
    verb = "end" if words.endswith("s") else "ends"
    return f"{text}; {words} {verb} first, after {duration(seconds)} more of searching as so far"


def _ranked(output: Output, scored: Sequence[Trial], by: str, store: Store | None) -> Ranking:
    """Rank the trials; records of another version can't be shown, and their number is."""
    from va_search.api.ranking import rank_trials
    from va_search.errors import InputError
    from va_search.report.gather import check_trial

    trials: list[Trial] = []
    for trial in scored:
        with suppress(InputError):
            check_trial(trial, None)
            trials.append(trial)
    if len(trials) < len(scored):
        unreadable = counted(len(scored) - len(trials), "trial")
        output.show(f"{unreadable} of another version left out")
    return rank_trials(trials, by, store)


def _store(path: str | None) -> Store | None:
    """Return the store that a study names; None where it names none, or it is not there any
    more."""
    from va_search.data.store import Store
    from va_search.errors import InputError

    if path is None:
        return None
    with suppress(InputError, OSError):
        return Store.open(path)
    return None


def _show_folds(
    output: Output,
    asked: Sequence[str | int] | str,
    store: Store | None,
    trials: Sequence[Trial],
    failures: Sequence[Trial],
) -> list[FoldRow]:
    """Show the folds of a study that has several; return what each configuration gave on them.

    `asked`: the folds that the space names, or "all"; `store` tells their numbers."""
    from va_search.report.tables.folds import table_of_folds
    from va_search.search.fold_table import fold_table

    folds = _study_folds(asked, [*trials, *failures], store)
    if len(folds) < 2:
        return []
    configurations = fold_table(trials, failures, folds, store)
    if configurations:
        output.show(table_of_folds(configurations, folds, store))
    return configurations


def _study_folds(
    asked: Sequence[str | int] | str, trials: Sequence[Trial], store: Store | None
) -> dict[str | int, str | int]:
    """The folds that a study's space asks for or its trials have, by number where the store tells
    it, without train_val_mix."""
    from va_search.data.store import MIX
    from va_search.search.fold_table import store_folds

    numbers = {} if store is None else store_folds(store)
    keys: set[str | int] = {MIX if trial.fold is None else trial.fold for trial in trials}
    # A space names a fold by its number, its trials by the split that it is.
    keys |= set(numbers.values()) if asked == "all" else {numbers.get(key, key) for key in asked}
    numbered = {number: key for number, key in numbers.items() if key in keys}
    unnumbered = keys - set(numbered.values()) - {MIX}
    return numbered | {key: key for key in sorted(unnumbered, key=str)}


# A cluster's head ---------------------------------------------------------------------------------


def _ask_head(address: str, arguments: Sequence[str], as_json: bool) -> None:
    """Show what the same command with these arguments says on a cluster's head, where the home is
    the head's own unless one is named."""
    with command(as_json) as output:
        from va_search.errors import InputError, JobError
        from va_search.search.ray_backend.jobs import run_on_head

        words = ["va-search", "status", *arguments]
        if as_json:
            words.append("--json")
        ran = run_on_head(address, words, with_errors=not as_json)
        text = ran.output.strip()
        document: dict[str, Any] = {}
        if as_json:
            # A defect on the head leaves no document: its words went to standard error.
            with suppress(ValueError):
                document = json.loads(text)
        if ran.exit_code or (as_json and not document):
            reason = document.get("error") or text.removeprefix("error: ")
            error = InputError if ran.exit_code == 2 else JobError
            raise error(f"on the head of {address}: {reason or f'exit code {ran.exit_code}'}")
        if not as_json:
            output.show(text)
        output.done(document)
