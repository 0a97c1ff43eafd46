"""The contents of a home: its studies and ensembles with sizes, ages, and what is wrong with each.

Conventions: sizes are bytes, moments ISO 8601 in UTC. Trials are read without settings and history,
which makes thousands of them a matter of a second. Nothing is repaired: what can't be read is named
in the `problems` of what it belongs to."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.home import OpenHome, open_home, studies_of
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.entries import WEIGHTS, Size

if TYPE_CHECKING:
    from va_search.ensemble.saved import Ensemble
    from va_search.report.standing import StudyProgress

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class HomeContents:
    """Everything in a home that has a name, sorted by it."""

    studies: tuple[StudyEntry, ...]
    ensembles: tuple[EnsembleEntry, ...]


def home_contents(home: OpenHome | str | Path | None = None) -> HomeContents:
    """Return all studies and ensembles of a home; a study whose document is damaged is left out,
    with a warning."""
    with open_home(home).using() as opened:
        files = opened.files
        ensembles = ensembles_of(files)
        studies = []
        for name in studies_of(files):
            try:
                studies.append(_study_entry(files, name, ensembles))
            except InputError as error:
                LOG.warning("study %s is left out: %s", name, error)
        entries = [_ensemble_entry(files, *each) for each in ensembles.items()]
        return HomeContents(tuple(studies), tuple(entries))


def list_studies(*, home: OpenHome | str | Path | None = None) -> list[StudyEntry]:
    """Return all studies of a home, as `home_contents` does."""
    return list(home_contents(home).studies)


def ensembles_of(home: Home) -> dict[str, Ensemble | InputError]:
    """Each ensemble of the home by name, or why it can't be read."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble

    ensembles: dict[str, Ensemble | InputError] = {}
    for name in known_ensembles(home):
        try:
            ensembles[name] = read_ensemble(home, name)
        except InputError as error:
            ensembles[name] = error
    return ensembles


# Studies ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudySizes:
    """Bytes that a study takes on the disk: of its trials' predictions (with their records, and the
    configurations over folds made of them) and weights, checkpoints, and its documents."""

    predictions: Size
    weights: Size
    checkpoints: Size
    documents: Size

    @classmethod
    def of(cls, home: Home, study: str) -> StudySizes:
        """Return the sizes of a study's files as they are now."""
        folder = home.study(study)
        predictions: list[os.DirEntry[str]] = []
        weights: list[os.DirEntry[str]] = []
        for bank in (home.bank, home.configurations):
            for file in files_below(bank / folder.name):
                (weights if file.name.endswith(WEIGHTS) else predictions).append(file)
        running = str(folder / "running")
        checkpoints: list[os.DirEntry[str]] = []
        documents: list[os.DirEntry[str]] = []
        for file in files_below(folder):
            is_checkpoint = file.path.startswith(running + os.sep)
            (checkpoints if is_checkpoint else documents).append(file)
        return cls(
            predictions=Size.of(predictions),
            weights=Size.of(weights),
            checkpoints=Size.of(checkpoints),
            documents=Size.of(documents),
        )

    @property
    def total(self) -> Size:
        """All of it."""
        return self.predictions + self.weights + self.checkpoints + self.documents


@dataclass(frozen=True)
class StudyEntry:
    """A study of a home. `best_score`: of its best trial, None without one; `began_at` and `last_at`
    (when its last trial ended): None where not known; `ensembles`: those of its trials; `pending`:
    the command that ends interrupted housekeeping; `problems`: sentences."""

    progress: StudyProgress
    best_score: float | None
    sizes: StudySizes
    began_at: str | None
    last_at: str | None
    ensembles: tuple[str, ...]
    pending: str | None
    problems: tuple[str, ...] = ()

    @property
    def study(self) -> str:
        """Its name."""
        return self.progress.study

    @property
    def state(self) -> str:
        """The state of its search in a few words."""
        progress = self.progress
        if progress.pause is not None:
            return "paused"
        if progress.searching:
            running = f" ({progress.running:,} running)" if progress.running else ""
            return f"searching now{running}"
        if progress.planned is None:
            return ""
        left = progress.planned - progress.complete - progress.failed
        return f"{left:,} to train" if left > 0 else "done"


def study_entry(home: Home, name: str) -> StudyEntry:
    """Return one study of a home; InputError where its document is damaged."""
    return _study_entry(home, name, ensembles_of(home))


def _study_entry(
    home: Home, name: str, ensembles: Mapping[str, Ensemble | InputError]
) -> StudyEntry:
    from va_search.ensemble.renaming import used_trials
    from va_search.report.standing import progress_of
    from va_search.search.housekeeping import pending_of
    from va_search.search.study import Study

    study = Study(home, name)
    document = study.document() if study.exists() else {}
    trials, damaged = study.bank.outlines(name)
    scores = [trial.score for trial in trials if trial.score is not None]
    moments = [trial.finished_at for trial in trials if trial.finished_at]
    using = []
    for ensemble_name, ensemble in ensembles.items():
        if not isinstance(ensemble, InputError) and name in used_trials(ensemble):
            using.append(ensemble_name)
    # No store is brought from a URL for this: a home may have studies of many.
    progress = progress_of(home, name, trials, study.failures(), brings_store=False)
    deed = pending_of(home, name)
    pending = None if deed is None else deed.command(home)
    return StudyEntry(
        progress=progress,
        best_score=max(scores, default=None),
        sizes=StudySizes.of(home, name),
        began_at=document.get("began_at"),
        last_at=max(moments, default=None),
        ensembles=tuple(using),
        pending=pending,
        problems=tuple(_study_problems(progress, damaged, document.get("store_path"), pending)),
    )


def _study_problems(
    progress: StudyProgress,
    damaged: Sequence[InputError],
    store: str | None,
    pending: str | None,
) -> Iterator[str]:
    from va_search.storage.places import is_url

    if damaged:
        count = counted(len(damaged), "damaged trial")
        are = "is" if len(damaged) == 1 else "are"
        yield f"{count} {are} left out: {damaged[0].problems[0]}"
    if store is not None and not is_url(store) and not Path(store).is_dir():
        yield f"its store is not at {store} any more"
    if progress.pause is not None:
        yield f"paused: {progress.pause}"
    if progress.tracking is not None:
        yield f"tracking: {progress.tracking}"
    if pending is not None:
        yield f"interrupted housekeeping; to end it: {pending}"


# Ensembles ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EnsembleEntry:
    """An ensemble of a home; where it can't be read, `problem` says why and most of the others are
    empty. `out_of_fold`: {each target, score}, None without such a score. `bytes` of its file and of
    what was made of it."""

    name: str
    problem: str = ""
    studies: Sequence[str] = ()
    recipe: str = ""
    built_at: str = ""
    out_of_fold: Mapping[str, float] | None = None
    bytes: int = 0
    problems: tuple[str, ...] = ()

    def document(self) -> Mapping[str, object]:
        """Plain data for JSON."""
        if self.problem:
            return {"name": self.name, "problem": self.problem, "bytes": self.bytes}
        document = asdict(self)
        del document["problem"]
        return document


def _ensemble_entry(home: Home, name: str, ensemble: Ensemble | InputError) -> EnsembleEntry:
    path = home.ensemble(name)
    size = path.stat().st_size + Size.of(files_below(path.with_suffix(""))).bytes
    if isinstance(ensemble, InputError):
        reason = ensemble.problems[0]
        return EnsembleEntry(name, reason, bytes=size, problems=(f"can't be read: {reason}",))
    return EnsembleEntry(
        name,
        studies=ensemble.studies,
        recipe=ensemble.recipe,
        built_at=ensemble.created_at,
        out_of_fold=ensemble.scores.get("out_of_fold"),
        bytes=size,
        problems=tuple(_ensemble_problems(home, ensemble)),
    )


def _ensemble_problems(home: Home, ensemble: Ensemble) -> Iterator[str]:
    from va_search.ensemble.fresh import newer_trials, stale_explanation, stale_models

    bank = Bank(home.bank)
    missing: dict[str, None] = {}
    for _, piece in ensemble.pieces:
        for weighted in piece.dimensions.values():
            for member in weighted.members:
                # A configuration over folds is put together again from its folds' trials.
                names = member.trials.values() if member.trials else [member.trial]
                for name in names:
                    if not bank.is_complete(member.study, name):
                        missing[f"{member.study}/{name}"] = None
    if missing:
        are = "is" if len(missing) == 1 else "are"
        yield f"{counted(len(missing), 'member')} {are} not in the bank any more: {next(iter(missing))}"
    newer = newer_trials(home, ensemble)
    if newer:
        were = "was" if newer == 1 else "were"
        yield f"{counted(newer, 'trial')} {were} completed after it was built"
    if stale_explanation(home, ensemble):
        yield "its explanation is of an earlier build"
    for model in stale_models(home, ensemble):
        yield f"{model} is of an earlier build"


# Files --------------------------------------------------------------------------------------------


def files_below(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield all files below a folder but locks, in no order; none where it is not there."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path)
        elif entry.is_file() and entry.name not in ("lock", "lock.holder"):
            yield entry
