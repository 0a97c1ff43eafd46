"""An ensemble's members trained again on everything labelled, and the ensemble of these.

Conventions: the study of these trials and the new ensemble have one name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.ensembles import OpenEnsemble
from va_search.api.home import bring_members, open_noted_store
from va_search.errors import InputError

if TYPE_CHECKING:
    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.search.machine import Options


def train_again(
    ensemble: OpenEnsemble,
    name: str,
    *,
    store: Store | str | Path | None = None,
    options: Options | None = None,
    **more: Any,
) -> OpenStudy:
    """Train what is missing of an ensemble's members on train and validation together, in the study
    `name`; `store`, `options` and `more` as in `OpenEnsemble.refit`.

    InputError where the name is that of an ensemble that was built in another way, before anything
    is trained."""
    from va_search.api.searching import run_search
    from va_search.ensemble.refit import plan_refit
    from va_search.search.listed import space_of

    files = ensemble.home.files
    with ensemble.home.using("predictions", studies=ensemble.document.studies, writes=True):
        _refuse_taken_name(ensemble, name)
        bring_members(ensemble.home, ensemble.document, "predictions")
        plan = plan_refit(files, ensemble.document)
        opened = open_noted_store(ensemble.document.store, store)
        space = space_of(plan.trials.values())
        return run_search(space, opened, study=name, home=ensemble.home, options=options, **more)


def save_refitted(
    ensemble: OpenEnsemble,
    name: str,
    *,
    match: bool = True,
    store: Store | str | Path | None = None,
) -> OpenEnsemble:
    """Save and return the ensemble `name` of the trials of `train_again`; InputError while one is
    missing."""
    from va_search.ensemble.refit import plan_refit, refit

    files = ensemble.home.files
    with ensemble.home.using("predictions", writes=True):
        plan = plan_refit(files, ensemble.document)
        opened = open_noted_store(ensemble.document.store, store)
        document = refit(files, ensemble.document, plan, opened, name=name, match=match)
    return OpenEnsemble(ensemble.home, document)


def _refuse_taken_name(ensemble: OpenEnsemble, name: str) -> None:
    """InputError where an ensemble of this name was not made from this one by training again."""
    from va_search.ensemble.refit import is_refit_of
    from va_search.ensemble.saved import read_ensemble

    files = ensemble.home.files
    if not files.ensemble(name).is_file():
        return
    if not is_refit_of(read_ensemble(files, name), ensemble.name):
        raise InputError(
            f"ensemble {name!r} exists and is none of {ensemble.name!r} trained again; "
            "choose another --name"
        )
