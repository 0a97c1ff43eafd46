"""The whole job on a simulated challenge, scored on the labels that a challenge would withhold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.data import check_store, simulate
from va_search.api.ensembles import DEFAULT_RECIPE, OpenEnsemble, build_ensemble
from va_search.api.home import OpenHome, open_home
from va_search.api.progress import Note, silent, summary_lines, to_standard_error
from va_search.api.searching import run_search
from va_search.errors import counted
from va_search.search.summary import Unfinished

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from va_search.data.store import Store

    Scores = dict[str, Mapping[str, Mapping[str, float] | None]]

NAME = "demo"
"""The demo's study and its ensemble."""


def run_demo(
    folder: str | Path = "demo",
    *,
    home: OpenHome | str | Path | None = None,
    show: Note = silent,
    note: Note = to_standard_error,
) -> Scores:
    """Simulate a challenge in `folder`, audit it, search it, build an ensemble per target, write
    its submission there, and score it on the withheld labels.

    Returns CCCs: {"best single", "ensemble"} -> {in_sample, out_of_fold, test} -> {valence,
    arousal, score}. `show` takes each step's result in a line, `note` what else is to know."""
    folder = Path(folder)
    hidden, submission = folder / "hidden-labels", folder / "submission"
    opened = open_home(home)
    with opened.using("predictions", writes=True):
        store = simulate(folder / "store", size="demo", hidden=hidden)
        for line in _store_lines(store):
            show(line)
        show("3 search    search_spaces/demo.yaml, 16 trials with Ray on this machine")
        try:
            study = run_search("search_spaces/demo.yaml", store, study=NAME, home=opened, note=note)
        except Unfinished as error:
            for line in summary_lines(error.summary, opened.files):
                show(line)
            raise
        if study.summary is not None:
            for line in summary_lines(study.summary, opened.files):
                show(line)
        # The demo may be run again: its ensemble is made anew under the same name.
        ensemble = build_ensemble(
            study, name=NAME, recipe=DEFAULT_RECIPE, store=store, force=True, note=note
        )
        show(_members_line(ensemble))
        ensemble.submit(submission, store=store)
        recordings = counted(len(store.split("test")), "test recording")
        show(f"5 submit    {submission}: {recordings}, complete, finite, read back")
        return _scores(ensemble, store, submission, hidden)


def _store_lines(store: Store) -> list[str]:
    """Splits, frames and feature sets of the store, then its audit."""
    splits = [f"{len(store.split(name))} {name}" for name in ("train", "validation", "test")]
    sets = []
    for feature_set in store.feature_sets.values():
        sets.append(f"{feature_set.name} ({feature_set.modality}, {feature_set.dim})")
    content = f"{' · '.join(splits)} recordings, {store.frames:,} frames; {', '.join(sets)}"
    report = check_store(store)
    findings = [counted(report.count(level), level) for level in ("error", "warning", "note")]
    return [
        f"1 data      {store.path}: {content}",
        f"2 audit     {', '.join(findings)} (va-search data check {store.path})",
    ]


def _members_line(ensemble: OpenEnsemble) -> str:
    counts = []
    for target, weighted in ensemble.document.dimensions.items():
        counts.append(f"{target} {len(weighted.members)}")
    chosen = f"chosen on validation, of {ensemble.document.candidates} trials"
    return f"4 ensemble  recipe {ensemble.document.recipe}, members: {', '.join(counts)}, {chosen}"


def _scores(ensemble: OpenEnsemble, store: Store, submission: Path, hidden: Path) -> Scores:
    """Best single and ensemble: in-sample, out-of-fold and test CCC, per target and their
    mean."""
    from va_search.submission.scoring import read_labels, read_submission, scores_of

    labels = read_labels(hidden, store)
    single = scores_of(_best_single_on_test(ensemble, store), labels)
    submitted = scores_of(read_submission(submission, store), labels)
    return {
        "best single": {**ensemble.document.best_single, "test": single},
        "ensemble": {**ensemble.document.scores, "test": submitted},
    }


def _best_single_on_test(ensemble: OpenEnsemble, store: Store) -> NDArray[np.float32]:
    """(frames, targets) test predictions of the best single trial of each target."""
    import numpy as np

    from va_search.data.store import frames_hash
    from va_search.predictions.bank import Bank

    bank = Bank(ensemble.home.files.bank)
    lines_up = frames_hash(store.split("test"))
    columns = []
    for index, target in enumerate(store.target_names):
        best = ensemble.document.dimensions[target].best_single
        assert best is not None  # members have validation here
        values = bank.read(best.study, best.trial, "test", frames_hash=lines_up)
        columns.append(values[:, index])
    return np.stack(columns, axis=1)
