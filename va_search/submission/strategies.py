"""The paper's five submissions (4.7), each a recipe in ensembles/paper/: built, written, and Table
6 of them.

    OUT/<recipe>/                              one submission each, format recordings
    <home>/ensembles/<prefix>-<recipe>.json    the ensembles
    <home>/studies/<study>/submissions.json    Table 6, under the first study

Conventions: a strategy whose trials are not there is a row with a `problem`, not an error. Test
labels are read only where a folder of them is given, and only to score what was written. The same
call again builds and writes all anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.store import Store
from va_search.ensemble.build import build
from va_search.ensemble.candidates import find_candidates, find_store
from va_search.ensemble.fresh import content_id
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import Ensemble, read_ensemble
from va_search.errors import InputError
from va_search.files import checked_name, shipped, write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.submission.folder import SUBMISSION, may_write
from va_search.submission.scoring import Values, read_labels, read_submission, scores_of
from va_search.submission.writing import submit

STRATEGIES = {
    "ensemble_1": "Ensemble 1",
    "ensemble_2": "Ensemble 2",
    "train_val_mix": "Train-Val-Mix",
    "ensemble_3": "Ensemble 3",
    "six_fold": "6-Fold",
}
"""Recipes in ensembles/paper/ and the paper's words for them, in the order of Table 6."""

Scores = dict[str, float | None]


@dataclass(frozen=True)
class StrategyRow:
    """One line of Table 6. Scores {each target, score} are None where they could not be
    measured.

    `measured_on`: the fold and the number of recordings that `in_sample` and `out_of_fold` are of.
    `problem`: why the strategy could not be made."""

    submission: int
    strategy: str
    recipe: str
    ensemble: str | None = None
    members: dict[str, int] | None = None
    measured_on: dict[str, Any] | None = None
    in_sample: Scores | None = None
    out_of_fold: Scores | None = None
    test: Scores | None = None
    problem: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class Submissions:
    """Table 6 and the ensembles in it; `path` is the file it was saved to, `remarks` are on the
    files of labels."""

    made_at: str
    labels: str | None
    studies: list[str]
    rows: list[StrategyRow]
    ensembles: list[Ensemble]
    path: Path
    remarks: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The content of submissions.json."""
        return {
            "made_at": self.made_at,
            "labels": self.labels,
            "studies": self.studies,
            "rows": [asdict(row) for row in self.rows],
        }


def write_submissions(
    home: Home,
    studies: Sequence[str],
    *,
    out: Path,
    store: Store | None = None,
    labels: Path | None = None,
    prefix: str | None = None,
    watch: Callable[[str], None] = lambda strategy: None,
) -> Submissions:
    """Build and write all five strategies from the studies' trials, and score them where there are
    `labels`.

    The store is the one the trials name, or `store`; `prefix` begins the ensembles' names, the
    first study unless given. `watch` is told each strategy as it begins. InputError, before
    anything is written: unknown studies, labels that are not right, folders or ensembles that are
    not ours to replace; afterwards, when no strategy could be made."""
    names: dict[str, str] = {
        recipe: checked_name(f"{prefix or studies[0]}-{recipe}", "ensemble name")
        for recipe in STRATEGIES
    }
    store = store or find_store(find_candidates(Bank(home.bank), studies, outside=True)[0])
    # All that could stop the work is looked at before the first ensemble is built.
    remarks: list[str] = []
    truth = _checked(home, names, out, store, labels=labels, remarks=remarks)
    rows, ensembles = [], []
    for number, (recipe, strategy) in enumerate(STRATEGIES.items(), start=1):
        watch(strategy)
        empty = StrategyRow(number, strategy, recipe)
        folder = out / recipe
        try:
            document = load_recipe(shipped(f"ensembles/paper/{recipe}.yaml"))
            ensemble = build(home, studies, document, names[recipe], store, force=True)
            submit(ensemble, store, Bank(home.bank), format="recordings", out=folder)
        except InputError as error:
            # A strategy whose trials are missing is a row of the table, not the end.
            earlier = f"; {folder} is of an earlier call" if folder.exists() else ""
            rows.append(replace(empty, problem=f"{error}{earlier}"))
            continue
        ensembles.append(ensemble)
        test = None
        if truth is not None:
            # Scores are of what was written, read back.
            test = _finite(scores_of(read_submission(folder, store), truth, store.target_names))
        rows.append(_filled(empty, ensemble, test))
    if not ensembles:
        raise InputError(*(f"{row.strategy}: {row.problem}" for row in rows))
    path = home.study(studies[0]) / "submissions.json"
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    submissions = Submissions(
        made_at,
        None if labels is None else str(labels.resolve()),
        list(studies),
        rows,
        ensembles,
        path,
        tuple(remarks),
    )
    write_json(path, submissions.document())
    return submissions


def _checked(
    home: Home,
    names: dict[str, str],
    out: Path,
    store: Store,
    *,
    labels: Path | None,
    remarks: list[str],
) -> Values | None:
    """The test labels, where there are any, once everything may be written; InputError with all
    that is in the way.

    `remarks` is added to.
    """
    problems: list[str] = []
    for recipe, name in names.items():
        try:
            may_write((out / recipe).resolve(), name, SUBMISSION, option="")
            _refuse_other(home, name, recipe)
        except InputError as error:
            problems += error.problems
    truth = None
    if labels is not None:
        try:
            truth = read_labels(labels, store, remarks)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return truth


def _refuse_other(home: Home, name: str, recipe: str) -> None:
    """InputError for an ensemble of this name that is of another recipe: it was not made here."""
    if not home.ensemble(name).is_file():
        return
    existing = read_ensemble(home, name).recipe
    if existing != recipe:
        raise InputError(f"ensemble {name!r} exists, of recipe {existing}; choose another --prefix")


def _filled(row: StrategyRow, ensemble: Ensemble, test: Scores | None) -> StrategyRow:
    measured = ensemble.measured_on
    return replace(
        row,
        ensemble=ensemble.name,
        members={name: len(members_of(ensemble, name)) for name in ensemble.target_names},
        measured_on={
            "fold": measured.fold,
            "recordings": measured.recordings,
            "reason": measured.reason,
        },
        in_sample=_finite(ensemble.scores["in_sample"]),
        out_of_fold=_finite(ensemble.scores["out_of_fold"]),
        test=test,
        content=content_id(ensemble),
    )


def members_of(ensemble: Ensemble, target: str) -> set[tuple[str, str]]:
    """Study and trial of all members of one target, those of a blend's parts together."""
    members: set[tuple[str, str]] = set()
    for _, piece in ensemble.pieces:
        members |= {(member.study, member.trial) for member in piece.dimensions[target].members}
    return members


def _finite(scores: dict[str, float] | None) -> Scores | None:
    """Scores with None where a CCC is not defined: JSON has no NaN."""
    if scores is None:
        return None
    return {name: value if np.isfinite(value) else None for name, value in scores.items()}
