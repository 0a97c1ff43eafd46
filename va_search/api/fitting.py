"""From a space to predictions in one call, in four stages: search, race, choose, train again.

1. Search: the space's trials, on the folds that the space names (the official split by default).
2. Race: where the store has more folds, the best configurations are trained on one of these; those
   that lose to the best one, person by person, are left behind, and the others are trained on all
   that there are. What is left is judged on every labelled person instead of one fold's.
3. Choose: members and weights, over all folds where a race was run.
4. Train again: the members on everything labelled; their predictions are matched.

How many trainings each stage gets was decided by `benchmarks/budget.py`.

Conventions: the last ensemble has the `name` that is asked for, and so has the study of its trials.
The search's study is called `<name>-search`, the race's `<name>-folds`, the ensemble that members
and weights are taken from `<name>-chosen`. Hours, GPU-hours and money are of stages 1 and 2; a
search gets `SEARCH` of them, the race what is left. Everything that is finished is in the home: the same call goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.data import open_store
from va_search.api.ensembles import DEFAULT_RECIPE, OpenEnsemble, build_ensemble
from va_search.api.home import OpenHome, open_home
from va_search.api.notify import notifying
from va_search.api.progress import Note, duration, to_standard_error
from va_search.api.race import (
    SEARCH,
    FoldKey,
    Race,
    Round,
    complete_on_all_folds,
    folds_of_race,
    shared_bounds,
)
from va_search.api.refitting import refuse_taken_name, save_refitted, train_again
from va_search.api.searching import load_space, run_search, with_budget
from va_search.errors import InputError, counted
from va_search.trial import FoldKind

if TYPE_CHECKING:
    from va_search.api.searching import AnyHome, AnySpace, AnyStore
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.search.configurations import Space
    from va_search.search.machine import Options

OVER_FOLDS = "over_folds"
"""The recipe of configurations that were trained on all folds."""


@dataclass(frozen=True)
class Fitting:
    """The parts of a `fit` that are decided before anything is trained. `more_folds`: those that
    the race trains on beside the space's; none: there is no race."""

    name: str
    home: OpenHome
    space: Space
    store: Store
    options: Options | None
    more_folds: tuple[FoldKey, ...] = ()

    @property
    def search_name(self) -> str:
        return f"{self.name}-search"

    @property
    def race_name(self) -> str:
        return f"{self.name}-folds"

    @property
    def chosen_name(self) -> str:
        return f"{self.name}-chosen"

    # --- 1 search ---------------------------------------------------------------------------------

    @property
    def search_text(self) -> str:
        """A sentence on the search and its share of the budget."""
        budget = self.space.budget
        limits: list[str] = []
        if self.space.budget_trials is not None:
            limits.append(f"up to {counted(self.space.budget_trials, 'trial')}")
        if budget.hours is not None:
            seconds = self._search_hours(budget.hours) * 3600
            whole = duration(budget.hours * 3600)
            limits.append(f"at most {duration(seconds)} of the budget's {whole}")
        for name, limit in (("GPU-hours", budget.gpu_hours), ("money", budget.money)):
            if limit is not None:
                share = limit * SEARCH if self.more_folds else limit
                limits.append(f"{name} {share:g} of the budget's {limit:g}")
        bounds = f", {' or '.join(limits)}" if limits else ""
        return f"1 of 4, search: study {self.search_name}{bounds}"

    def _search_hours(self, hours: float) -> float:
        return hours * SEARCH if self.more_folds else hours

    def search(self, **more: Any) -> OpenStudy:
        """Train the space's trials; the same again goes on. InputError before that where a name is
        another ensemble's."""
        self.refuse_taken_names()
        share: dict[str, float] = {}
        if self.more_folds:
            share = {name: limit * SEARCH for name, limit in shared_bounds(self.space).items()}
        return run_search(
            with_budget(self.space, self.store, share),
            self.store,
            study=self.search_name,
            home=self.home,
            options=self.options,
            **more,
        )

    def refuse_taken_names(self) -> None:
        """InputError where one of the two ensembles exists and was made in another way."""
        from va_search.ensemble.saved import read_ensemble

        files = self.home.files
        refuse_taken_name(files, self.name, of=self.chosen_name)
        if not files.ensemble(self.chosen_name).is_file():
            return
        studies = read_ensemble(files, self.chosen_name).studies
        if list(studies) not in ([self.search_name], [self.race_name]):
            raise InputError(
                f"ensemble {self.chosen_name!r} exists and is none of study {self.search_name!r}; "
                "choose another --name"
            )

    # --- 2 race -----------------------------------------------------------------------------------

    @property
    def race(self) -> Race:
        """The race after the search."""
        return Race(
            self.race_name,
            self.search_name,
            self.home,
            self.space,
            self.store,
            self.options,
            self.more_folds,
        )

    def rounds(self) -> Iterator[Round]:
        """Yield each round of the race, to be trained before the next is asked for."""
        yield from self.race.rounds()

    @property
    def no_race_text(self) -> str | None:
        """A sentence on why there is no race, once the search is over; None where there is one."""
        reason = self.race.reason_for_none
        return None if reason is None else f"2 of 4, race: none, {reason}"

    # --- 3 choose, 4 train again ------------------------------------------------------------------

    @property
    def choice(self) -> tuple[str, str]:
        """The study that members are chosen from, and the recipe."""
        every = [self.store.canonical_fold(number) for number in self.store.fold_numbers]
        on_all_folds = len(every) > 1 and set(every) <= set(self.space.folds)
        if on_all_folds and complete_on_all_folds(self.home, self.search_name, self.store):
            return self.search_name, OVER_FOLDS
        if self.race.is_decided:
            return self.race_name, OVER_FOLDS
        # out of time before configurations had all folds: the one fold decides
        return self.search_name, DEFAULT_RECIPE

    def choose(self, note: Note) -> OpenEnsemble:
        """Build the ensemble whose members are trained again; trials that came since go into it."""
        study, recipe = self.choice
        return build_ensemble(
            study,
            name=self.chosen_name,
            recipe=recipe,
            store=self.store,
            home=self.home,
            force=True,
            tracking=False,
            note=note,
        )

    def train_again(self, chosen: OpenEnsemble, **more: Any) -> OpenStudy:
        """Train the chosen members on everything labelled; the same again goes on."""
        return train_again(chosen, self.name, store=self.store, options=self.options, **more)

    def finish(self, chosen: OpenEnsemble, *, match: bool) -> OpenEnsemble:
        """Save and return the last ensemble."""
        return save_refitted(chosen, self.name, match=match, store=self.store)


def plan_fit(
    space: AnySpace,
    store: AnyStore,
    *,
    name: str,
    home: AnyHome = None,
    hours: float | None = None,
    trials: int | None = None,
    budget: Mapping[str, float | None] | None = None,
    options: Options | None = None,
) -> Fitting:
    """Decide how to fit; `hours`, `trials` and what else `budget` has take the place of those in
    the space's budget.

    InputError for a store without test recordings, since members that trained on everything predict
    these alone, and for a space that validates nothing, since members could not be chosen."""
    opened = open_store(store)
    if not opened.split("test"):
        raise InputError(
            f"{opened.place}: it has no test recordings, which are what the members predict once "
            "they are trained on everything; `va-search search` and `va-search ensemble` need none"
        )
    loaded = load_space(space, opened)
    loaded = with_budget(loaded, opened, {**(budget or {}), "hours": hours, "trials": trials})
    if not any(FoldKind(fold).has_validation for fold in loaded.folds):
        raise InputError(
            f"the space's folds, {', '.join(map(str, loaded.folds))}, validate nothing: no "
            "configuration could be chosen; name others, or leave `folds` out"
        )
    return Fitting(
        name, open_home(home), loaded, opened, options, more_folds=folds_of_race(loaded, opened)
    )


def but_changes(note: Note) -> Note:
    """Notes without those on a space that changed: each round of the race has another one."""

    def pass_on(text: str) -> None:
        if not text.startswith("space changed"):
            note(text)

    return pass_on


def fit(
    space: AnySpace,
    store: AnyStore,
    *,
    name: str,
    home: AnyHome = None,
    hours: float | None = None,
    trials: int | None = None,
    budget: Mapping[str, float | None] | None = None,
    match: bool = True,
    out: str | Path | None = None,
    options: Options | None = None,
    tracking: bool = True,
    note: Note = to_standard_error,
    notify: str | None = None,
    **more: Any,
) -> OpenEnsemble:
    """Search a space, race the best configurations over the store's folds, choose members and
    weights, train the members again on everything labelled, and return the ensemble of these; the
    same call again goes on from what is finished.

    `hours` of search and race, `trials` of the search, and what else a `budget` has, such as
    {"gpu_hours": 8, "worth": 0.01}: instead of those in the space's budget. `match`: scale and
    shift the test predictions to the mean and spread of all labelled frames; no test label is read.
    `out`: folder for the test predictions. `notify`: a command that is run at a new best trial and
    at the end (api/notify.py). `more` as in `run_search`
    (progress). InputError with all problems."""
    fitting = plan_fit(
        space,
        store,
        name=name,
        home=home,
        hours=hours,
        trials=trials,
        budget=budget,
        options=options,
    )
    with (
        fitting.home.using("predictions", writes=True),
        notifying(notify, name, note) as notifier,
    ):
        note(fitting.search_text)
        fitting.search(note=note, notify=notifier, **more)
        if fitting.no_race_text is not None:
            note(fitting.no_race_text)
        for fold_round in fitting.rounds():
            note(fold_round.text)
            fold_round.train(note=but_changes(note), **more)
        note(f"3 of 4, choose: ensemble {fitting.chosen_name}")
        chosen = fitting.choose(note)
        note(f"4 of 4, train again on everything labelled: study {name}")
        fitting.train_again(chosen, note=note, **more)
        ensemble = fitting.finish(chosen, match=match)
    if out is not None:
        ensemble.submit(out)
    if tracking:
        tracking_uri = None if options is None else options.tracking_uri
        ensemble.track(tracking_uri, note=note)
    return ensemble
