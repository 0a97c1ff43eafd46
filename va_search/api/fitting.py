"""From a space to predictions in one call: search, choose, train again on everything.

Conventions: the last ensemble has the `name` that is asked for, and so has the study of its trials.
The search's study is called `<name>-search`, the ensemble that members and weights are taken from
`<name>-chosen`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.data import open_store
from va_search.api.ensembles import DEFAULT_RECIPE, OpenEnsemble, build_ensemble
from va_search.api.home import OpenHome, open_home
from va_search.api.progress import Note, to_standard_error
from va_search.api.refitting import refuse_taken_name, save_refitted, train_again
from va_search.api.searching import load_space, run_search
from va_search.errors import InputError

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
    """The parts of a `fit` that are decided before anything is trained."""

    name: str
    home: OpenHome
    space: Space
    store: Store
    recipe: str
    options: Options | None

    @property
    def search_name(self) -> str:
        return f"{self.name}-search"

    @property
    def chosen_name(self) -> str:
        return f"{self.name}-chosen"

    def search(self, **more: Any) -> OpenStudy:
        """Train the space's trials; the same again goes on. InputError before that where a name is
        another ensemble's."""
        self.refuse_taken_names()
        return run_search(
            self.space,
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
        if list(studies) != [self.search_name]:
            raise InputError(
                f"ensemble {self.chosen_name!r} exists and is none of study {self.search_name!r}; "
                "choose another --name"
            )

    def choose(self, note: Note) -> OpenEnsemble:
        """Build the ensemble whose members are trained again; trials that came since go into it."""
        return build_ensemble(
            self.search_name,
            name=self.chosen_name,
            recipe=self.recipe,
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
    options: Options | None = None,
) -> Fitting:
    """Decide how to fit; `hours` and `trials` take the place of those in the space's budget.

    InputError for a store without test recordings, since members that trained on everything predict
    these alone."""
    opened = open_store(store)
    if not opened.split("test"):
        raise InputError(
            f"{opened.place}: it has no test recordings, which are what the members predict once "
            "they are trained on everything; `va-search search` and `va-search ensemble` need none"
        )
    loaded = load_space(space, opened)
    budget = {"hours": hours, "trials": trials}
    changed = {key: value for key, value in budget.items() if value is not None}
    if changed:
        document = {**loaded.document}
        document["budget"] = {**(document.get("budget") or {}), **changed}
        loaded = load_space(document, opened)
    return Fitting(name, open_home(home), loaded, opened, _recipe_of(loaded, opened), options)


def _recipe_of(space: Space, store: Store) -> str:
    """The recipe that suits the folds that are trained on."""
    every: Sequence[int | str] = [store.canonical_fold(number) for number in store.fold_numbers]
    if len(every) > 1 and set(every) <= set(space.folds):
        return OVER_FOLDS
    return DEFAULT_RECIPE


def fit(
    space: AnySpace,
    store: AnyStore,
    *,
    name: str,
    home: AnyHome = None,
    hours: float | None = None,
    trials: int | None = None,
    match: bool = True,
    out: str | Path | None = None,
    options: Options | None = None,
    tracking: bool = True,
    note: Note = to_standard_error,
    **more: Any,
) -> OpenEnsemble:
    """Search a space, choose members and weights, train the members again on everything labelled,
    and return the ensemble of these; the same call again goes on from what is finished.

    `hours`, `trials`: instead of the space's budget of the search. `match`: scale and shift the test
    predictions to the mean and spread of all labelled frames; no test label is read. `out`: folder
    for the test predictions. `more` as in `run_search` (progress). InputError with all problems."""
    fitting = plan_fit(
        space, store, name=name, home=home, hours=hours, trials=trials, options=options
    )
    with fitting.home.using("predictions", writes=True):
        fitting.search(note=note, **more)
        chosen = fitting.choose(note)
        fitting.train_again(chosen, note=note, **more)
        ensemble = fitting.finish(chosen, match=match)
    if out is not None:
        ensemble.submit(out)
    if tracking:
        tracking_uri = None if options is None else options.tracking_uri
        ensemble.track(tracking_uri, note=note)
    return ensemble
