"""The race of a `fit`: the best configurations of a search, trained on more and more folds.

They are trained on one more fold than the search; those that lose to the best one, person by
person, are left behind, and the others are trained on all folds.

Conventions: the study of the race has the trials of its configurations on all folds, those of the
search taken over. Trials of it that are left behind stay in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from va_search.api.home import OpenHome
from va_search.api.progress import duration
from va_search.api.searching import run_search
from va_search.errors import counted
from va_search.trial_settings import TrialSettings, configuration_id, trial_id_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.search.configurations import Space
    from va_search.search.machine import Options

SEARCH = 0.6
"""The search's share of the hours, where a race follows."""
RACED = 8
"""So many configurations of the search begin the race."""
FEWEST = 4
"""So many end it at least: an ensemble lives on members that differ."""

FoldKey = int | str


@dataclass(frozen=True)
class Round:
    """A round of the race: configurations to train on some more folds; `train` takes the keywords
    `progress` and `note`."""

    text: str
    train: Callable[..., OpenStudy]


@dataclass(frozen=True)
class Race:
    """A race under the study `name`, of the study `search_name`; `folds` are trained on beside
    those of the space. Without any there is no race."""

    name: str
    search_name: str
    home: OpenHome
    space: Space
    store: Store
    options: Options | None
    folds: tuple[FoldKey, ...]

    @property
    def is_decided(self) -> bool:
        """True once two configurations are complete on all folds."""
        return bool(self.folds) and complete_on_all_folds(self.home, self.name, self.store) >= 2

    @property
    def reason_for_none(self) -> str | None:
        """The reason for which nobody races, once the search is over; None where there is a race."""
        if not self.folds:
            return "no folds are left to train on"
        if len(self._best_of_search()) < 2:
            return "the search has not two configurations to compare"
        return None

    def rounds(self) -> Iterator[Round]:
        """Yield each round of the race, to be trained before the next is asked for."""
        running = self._best_of_search()
        if len(running) < 2:
            return
        # one more fold shows who loses; the others are for those who are left
        rounds = [part for part in (self.folds[:1], self.folds[1:]) if part]
        trained: list[FoldKey] = [*self.space.folds]
        for number, folds in enumerate(rounds, start=1):
            trained += folds
            text = (
                f"2 of 4, race, round {number} of {len(rounds)}: study {self.name}, "
                f"{counted(len(running), 'configuration')} on {counted(len(folds), 'more fold')}"
                f"{self._limit}"
            )
            yield Round(text, partial(self._train_on, running, tuple(trained)))
            running = self._survivors(running, trained)

    def _best_of_search(self) -> list[TrialSettings]:
        """Configurations of the search that are complete on the space's folds, the best of each kind
        first."""
        from va_search.predictions.bank import Bank
        from va_search.search.outcomes import objective

        values: dict[str, list[float]] = {}
        settings_of: dict[str, TrialSettings] = {}
        for trial in Bank(self.home.files.bank).each_trial(self.search_name):
            settings = trial.settings
            value = objective(trial, self.space.objective)
            if settings is None or value is None or settings.fold not in self.space.folds:
                continue
            name = configuration_id(settings, but=("fold",))
            values.setdefault(name, []).append(value)
            settings_of[name] = settings
        complete = [name for name in values if len(values[name]) == len(self.space.folds)]
        complete.sort(key=lambda name: (-np.mean(values[name]), name))
        return differing([settings_of[name] for name in complete], RACED)

    def _train_on(
        self, running: Sequence[TrialSettings], folds: Sequence[FoldKey], **more: Any
    ) -> OpenStudy:
        """Train configurations on these folds; trials of the search are taken over."""
        from va_search.search.listed import space_of

        one_fold = [settings.model_copy(update={"fold": folds[0]}) for settings in running]
        document = {**space_of(one_fold), "folds": [*folds]}
        budget = self.space.budget
        bounds: dict[str, float | None] = dict(self._left())
        if bounds:
            bounds["cost_per_gpu_hour"] = budget.cost_per_gpu_hour
            bounds["cost_per_core_hour"] = budget.cost_per_core_hour
            document["budget"] = {key: value for key, value in bounds.items() if value is not None}
        return run_search(
            document, self.store, study=self.name, home=self.home, options=self.options, **more
        )

    @property
    def _limit(self) -> str:
        """Words on the hours that the race has in all."""
        hours = self._left().get("hours")
        if hours is None:
            return ""
        return f", at most {duration(hours * 3600)}, which the search left"

    def _left(self) -> dict[str, float]:
        """Hours, GPU-hours and money that the search left: its own share, and more where it ended
        early."""
        from va_search.search.spending import accounts, spent_by
        from va_search.search.study import Study

        spent = spent_by(Study(self.home.files, self.search_name))
        bounds = shared_bounds(self.space)
        left: dict[str, float] = {}
        for account in accounts(self.space.budget, spent, 0):
            if account.name in bounds:
                limit = bounds[account.name]
                left[account.name] = max(limit - (account.spent or 0.0), limit * (1 - SEARCH) / 2)
        return left

    def _survivors(
        self, running: Sequence[TrialSettings], folds: Sequence[FoldKey]
    ) -> list[TrialSettings]:
        """Configurations that go on: those complete on these folds which do not lose to the best
        one, `FEWEST` at least."""
        from va_search.ensemble.paired import losers

        values: list[NDArray[np.float64]] = []
        complete: list[TrialSettings] = []
        for settings in running:
            of_people = self._shares(settings, folds)
            if of_people is not None:
                complete.append(settings)
                values.append(of_people)
        if len(complete) <= FEWEST:
            return complete
        of_each = np.stack(values)
        lost = losers(of_each)
        # the worst go first
        lost.sort(key=lambda row: float(of_each[row].mean()))
        out = set(lost[: len(complete) - FEWEST])
        return [settings for row, settings in enumerate(complete) if row not in out]

    def _shares(
        self, settings: TrialSettings, folds: Sequence[FoldKey]
    ) -> NDArray[np.float64] | None:
        """(people,) shares of the score of a configuration over these folds; None where it is not
        complete on one of them."""
        from va_search.data.store import frames_hash, positions
        from va_search.ensemble.paired import shares
        from va_search.predictions.bank import Bank

        bank = Bank(self.home.files.bank)
        predictions: list[NDArray[np.float32]] = []
        annotations: list[NDArray[np.float32]] = []
        people: list[str] = []
        for fold in folds:
            trial = trial_id_on(settings.model_copy(update={"fold": fold}), self.store)
            if not bank.is_complete(self.name, trial):
                return None
            recordings = self.store.fold(fold).validation
            hashed = frames_hash(recordings)
            predictions.append(bank.read(self.name, trial, "validation", frames_hash=hashed))
            annotations.append(self.store.annotations[positions(recordings)])
            for recording in recordings:
                people += [recording.subject] * recording.frames
        return shares(np.concatenate(predictions), np.concatenate(annotations), people)


def complete_on_all_folds(home: OpenHome, study: str, store: Store) -> int:
    """Number of a study's configurations that are complete on all of the store's folds."""
    from va_search.ensemble.over_folds import put_together
    from va_search.predictions.bank import Bank

    in_a_fold = all(recording.fold is not None for recording in store.labelled)
    if not in_a_fold or not Bank(home.files.bank).trials(study):
        return 0
    return len(put_together(home.files, [study], store).entries)


def differing(ranked: Sequence[TrialSettings], most: int) -> list[TrialSettings]:
    """Return so many of the configurations, which come best first: in turn the next best of each
    kind (family and encoder), of those that differ in a number alone the best one; the others only
    where there are too few.

    A sampler that learns comes to propose the same again and again with another learning rate,
    which is of no use to an ensemble, and what is best on one fold's few people may not be on
    others."""
    kinds: dict[tuple[str, str], list[TrialSettings]] = {}
    others: list[TrialSettings] = []
    seen: set[str] = set()
    for settings in ranked:
        numbers = [name for name, value in settings if isinstance(value, float)]
        meaning = configuration_id(settings, but=("fold", *numbers))
        if meaning in seen:
            others.append(settings)
            continue
        seen.add(meaning)
        encoder = settings.encoder if settings.family == "network" else ""
        kinds.setdefault((settings.family, encoder), []).append(settings)
    in_turn: list[TrialSettings] = []
    for turn in zip_longest(*kinds.values()):
        in_turn += [settings for settings in turn if settings is not None]
    return [*in_turn, *others][:most]


def shared_bounds(space: Space) -> dict[str, float]:
    """The bounds of a space's budget that search and race share, by name."""
    budget = space.budget
    bounds = {"hours": budget.hours, "gpu_hours": budget.gpu_hours, "money": budget.money}
    return {name: limit for name, limit in bounds.items() if limit is not None}


def folds_of_race(space: Space, store: Store) -> tuple[FoldKey, ...]:
    """The store's folds that a space does not train on; none where its people are not all in one,
    or where the space's own folds are none of them."""
    every = [store.canonical_fold(number) for number in store.fold_numbers]
    if any(recording.fold is None for recording in store.labelled):
        return ()
    if not set(space.folds) <= set(every):
        return ()
    return tuple(fold for fold in every if fold not in space.folds)
