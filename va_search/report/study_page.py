"""A study while it is searched, for its parent run in MLflow: one page of pictures, and a table of
the best trials.

Conventions: made from what ranks trials (`Trial.compact`), which the search has in memory;
settings are read from the bank for no more than `SAMPLE` trials, every so many-th by rank, and the
best. So its cost does not grow with a study. What can't be drawn yet says why; a damaged record is
left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.report import html
from va_search.report.figures.progress import history_figure, pareto_figure
from va_search.report.figures.settings import importance_figure, parallel_coordinates
from va_search.report.gather import Gathered, StudyState, check_trial
from va_search.report.model import Column, Missing, Report, Row, Section, Table, row
from va_search.report.words import BEST_EPOCH, model_name, number, other_settings, varying
from va_search.search.outcomes import objective as ranked_by
from va_search.trial import Trial, TrialState

SAMPLE = 300
"""Trials whose settings are read for the pictures."""
BEST = 20
"""Rows of the table."""
SETTINGS = 8
"""Settings that vary and get a column of their own there."""


def study_page(
    home: Home, study: str, objective: str, store: Store | None, trials: Sequence[Trial]
) -> dict[str, Any]:
    """`study.html`, everything in one page, and `best.json`, the best trials as columns and data.

    `trials`: all complete and failed ones, compact ones will do. `objective`: what the study
    looks for; trials are ranked by valence or arousal where it is that, otherwise by score."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    trained = [trial for trial in complete if trial.source == "trained"]
    measure = objective if objective in ("valence", "arousal") else "score"
    scored = [trial for trial in trained if trial.best]
    ranked = sorted(scored, key=lambda trial: -_rank(trial, measure))
    step = max(1, math.ceil(len(ranked) / SAMPLE))
    bank = Bank(home.bank)
    state = StudyState(study, tuple(_read(bank, ranked[::step])), (), None, None, ())
    gathered = Gathered(home, (state,), store, None, ())
    best = best_table(list(_read(bank, ranked[:BEST])), measure)
    progress = [history_figure(trained), *([pareto_figure(trained)] if objective == "both" else [])]
    settings = (parallel_coordinates(gathered), importance_figure(gathered, forests=False))
    sampled = (
        f"Pictures of settings are over one in {step} of {len(ranked)} trials, evenly by {measure}.",
    )
    sections = (
        Section("Best trials", tables=(best,)),
        Section("Progress", figures=tuple(progress)),
        Section("Settings", sampled if step > 1 else (), figures=settings),
    )
    report = Report(f"Study {study}", _counts(trials, trained, objective), sections)
    document = best.document()
    return {
        "study.html": html.render(report),
        "best.json": {"columns": document["columns"], "data": document["rows"]},
    }


def best_table(best: Sequence[Trial], measure: str) -> Table:
    """The best trials by `measure`, with the settings that differ among them."""
    title = f"Best trials by {measure}"
    several = [trial.settings for trial in best if trial.settings is not None]
    if not several:
        return Table(title, missing=Missing("No trial with a validation score is complete yet."))
    names = varying(several)[:SETTINGS]
    columns = (
        Column("trial"),
        *(Column(name, number=True) for name in ("score", "valence", "arousal")),
        *(
            Column(name, texts=name == "features")
            for name in ("encoder", "features", "fusion", "seed", "fold")
        ),
        *(Column(name) for name in names),
    )
    return Table(
        title, columns, tuple(_row(trial, names) for trial in best if trial.settings), BEST_EPOCH
    )


def _row(trial: Trial, names: Sequence[str]) -> Row:
    settings = trial.settings
    if settings is None:
        raise ValueError("a trained trial has settings")
    scores = [number(trial.ccc(name)) for name in ("score", "valence", "arousal")]
    others = [other_settings(settings, [name]).removeprefix(f"{name} ") for name in names]
    what = [", ".join(settings.features), settings.fusion, str(settings.seed), str(settings.fold)]
    return row(trial.id, *scores, model_name(settings), *what, *others)


def _rank(trial: Trial, measure: str) -> float:
    value = ranked_by(trial, measure)
    return -math.inf if value is None else value


def _read(bank: Bank, trials: Iterable[Trial]) -> Iterable[Trial]:
    for compact in trials:
        try:
            trial = bank.trial(compact.study, compact.id)
            check_trial(trial, None)
        except InputError:
            continue
        yield trial


def _counts(trials: Sequence[Trial], trained: Sequence[Trial], objective: str) -> str:
    failed = sum(trial.state is TrialState.FAILED for trial in trials)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    complete = f"{counted(len(trained), 'trial')} complete"
    return (
        f"{complete}{f', {failed} failed' if failed else ''}; objective {objective}. Drawn {made}."
    )
