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
    from va_search.home import Home
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

    InputError where the name is that of an ensemble that was built in another way, or the store has
    no test recordings, before anything is trained."""
    from va_search.api.searching import run_search
    from va_search.ensemble.refit import plan_refit
    from va_search.search.listed import space_of

    files = ensemble.home.files
    with ensemble.home.using("predictions", studies=ensemble.document.studies, writes=True):
        refuse_taken_name(ensemble.home.files, name, of=ensemble.name)
        _refuse_study_in_use(ensemble, name)
        bring_members(ensemble.home, ensemble.document, "predictions")
        plan = plan_refit(files, ensemble.document)
        opened = open_noted_store(ensemble.document.store, store)
        if not opened.split("test"):
            raise InputError(
                f"{opened.path}: it has no test recordings, which are what members trained on "
                f"everything labelled predict; to predict others with the members as they are: "
                f"va-search predict {ensemble.name} --data STORE --split SPLIT --out DIR"
            )
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


def refuse_taken_name(files: Home, name: str, *, of: str) -> None:
    """InputError where an ensemble of this name was not made from the ensemble `of` by training
    again."""
    from va_search.ensemble.refit import is_refit_of
    from va_search.ensemble.saved import read_ensemble

    if not files.ensemble(name).is_file():
        return
    if not is_refit_of(read_ensemble(files, name), of):
        raise InputError(
            f"ensemble {name!r} exists and is none of {of!r} trained again; choose another --name"
        )


def _refuse_study_in_use(ensemble: OpenEnsemble, name: str) -> None:
    """InputError where the study of this name is another's: its space would be replaced."""
    from va_search.data.store import MIX
    from va_search.search.listed import TRIALS
    from va_search.search.study import Study

    study = Study(ensemble.home.files, name)
    if not study.exists():
        return
    space = study.document()["space"]
    of_members = name in ensemble.document.studies
    if of_members or TRIALS not in space or space.get("folds") != [MIX]:
        raise InputError(
            f"study {name!r} exists and has trials of another space; choose another --name"
        )
