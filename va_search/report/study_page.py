"""A study while it is searched, for its parent run in MLflow: one page of pictures, and a table of
the best trials.

Conventions: made from what ranks trials (`Trial.compact`), which the search has in memory.
Settings are read from the bank for no more than `SAMPLE` trials, evenly by rank, and the best, so
that the cost does not grow with a study. What can't be drawn yet says why; a damaged record is
left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.report import pages
from va_search.report.figures.progress import history_figure, pareto_figure
from va_search.report.figures.settings import decisive_figure, parallel_coordinates
from va_search.report.gather import Gathered, StudyState, check_trial, targets_of
from va_search.report.pages import Section, StudyReport
from va_search.report.tables.decisive import decisive_by_measure
from va_search.report.tables.trials import best_trials_table
from va_search.trial import SCORE, Trial, TrialState

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
    looks for; trials are ranked by a target where it is one, otherwise by score."""
    trained = []
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.source == "trained":
            trained.append(trial)
    targets = targets_of(store, trained)
    measure = objective if objective in targets else SCORE
    ranked = [trial for trial in trained if trial.best]
    ranked.sort(key=lambda trial: -_rank(trial, measure))
    # Every so many-th by rank, so that good and bad settings are drawn alike.
    step = max(1, math.ceil(len(ranked) / SAMPLE))
    bank = Bank(home.bank)
    sample = StudyState(study, tuple(_read(bank, ranked[::step])), (), None, None, ())
    gathered = Gathered(home, (sample,), store, None, ())
    # The best are read whole besides the sample, which may have left them out.
    best = best_trials_table(list(_read(bank, ranked[:BEST])), measure, SETTINGS)
    progress = [history_figure(trained)]
    if objective == "both" and len(targets) > 1:
        progress.append(pareto_figure(trained, targets))
    sampled: tuple[str, ...] = ()
    if step > 1:
        share = f"one in {step} of {len(ranked)} trials"
        sampled = (f"Pictures of settings are over {share}, evenly by {measure}.",)
    settings = (parallel_coordinates(gathered), decisive_figure(decisive_by_measure(gathered)))
    sections = (
        Section("Best trials", tables=(best,)),
        Section("Progress", figures=tuple(progress)),
        Section("Settings", sampled, figures=settings),
    )
    failed = sum(trial.state is TrialState.FAILED for trial in trials)
    counts = f"{counted(len(trained), 'trial')} complete"
    if failed:
        counts += f", {failed} failed"
    drawn = f"Drawn {datetime.now(UTC):%Y-%m-%d %H:%M UTC}."
    report = StudyReport(f"Study {study}", f"{counts}; objective {objective}. {drawn}", sections)
    table = best.document()
    return {
        "study.html": pages.to_html(report),
        "best.json": {"columns": table["columns"], "data": table["rows"]},
    }


def _rank(trial: Trial, measure: str) -> float:
    value = trial.ccc(measure)
    if value is None:
        return -math.inf
    return value


def _read(bank: Bank, trials: Iterable[Trial]) -> Iterable[Trial]:
    """Yield compact trials whole, out of the bank; without those of another version."""
    for compact in trials:
        try:
            trial = bank.trial(compact.study, compact.id)
            check_trial(trial, None)
        except InputError:
            continue
        yield trial
