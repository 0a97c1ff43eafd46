"""What va-search itself made: stores, banks, ensembles, submissions; damaged afterwards.

Conventions: such a file is right or it is told: a result that differs from the undamaged one is a
fault, since nobody writes these files by hand (`sealed` targets; see targets.py)."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import valid


def store_result(store: Any) -> str:
    """All that a search reads of a store: values, labels, times, recordings."""
    digest = hashlib.sha256()
    for name in sorted(store.feature_sets):
        digest.update(np.ascontiguousarray(store.features(name)).tobytes())
        digest.update(np.ascontiguousarray(store.valid_of(name)).tobytes())
    for values in (store.annotations, store.times, store.valid):
        digest.update(np.ascontiguousarray(values).tobytes())
    recordings = [repr(recording) for recording in store.recordings]
    sets = [repr(entry) for entry in store.feature_sets.values()]
    return repr((digest.hexdigest(), recordings, sets, store.targets, store.time_column))


def write_store(folder: Path) -> None:
    """A copy of the shared store."""
    shutil.copytree(folder.parents[1] / "store", folder)


def read_store(folder: Path, shared: Path) -> str:
    """As `store_result`."""
    from va_search.data.store import Store

    return store_result(Store.open(folder))


def write_home(folder: Path) -> None:
    """A home with two models' predictions in its bank, an ensemble of them, and its submission."""
    from va_search.data.store import Store
    from va_search.ensemble.build import build
    from va_search.ensemble.outside import add_outside
    from va_search.ensemble.recipe import load_recipe
    from va_search.home import Home
    from va_search.predictions.bank import Bank

    store = Store.open(folder.parents[1] / "store")
    home = Home(folder)
    source = folder / "source"
    valid.write_predictions(source)
    add_outside(Bank(home.bank), "study", source, store)
    shutil.rmtree(source)
    recipe = folder / "recipe.yaml"
    recipe.write_text("method: top_k\nk: 2\n")
    build(home, ["study"], load_recipe(recipe), "e", store)
    recipe.unlink()


def read_home(folder: Path, shared: Path) -> str:
    """The test predictions of the ensemble, and of the same ensemble built again."""
    from va_search.data.store import Store
    from va_search.ensemble.build import build
    from va_search.ensemble.recipe import load_recipe
    from va_search.ensemble.saved import predict, read_ensemble
    from va_search.home import Home
    from va_search.predictions.bank import Bank

    store = Store.open(shared / "store")
    home = Home(folder)
    test = store.split("test")
    saved = read_ensemble(home, "e")
    values = predict(saved, Bank(home.bank), "test", test)
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text("method: top_k\nk: 2\n")
    again = build(home, ["study"], load_recipe(recipe), "again", store)
    built = predict(again, Bank(home.bank), "test", test)
    scores = [repr(part.scores) for part in again.dimensions.values()]
    return repr((values.tolist(), built.tolist(), scores))


def write_submission(folder: Path) -> None:
    """The ensemble's predictions of the test recordings, as `submit` writes them."""
    from va_search.api.ensembles import open_ensemble

    home = folder.parent / f"home-of-{folder.name}"
    write_home(home)
    open_ensemble("e", home=home).submit(folder, store=folder.parents[1] / "store")
    shutil.rmtree(home)


def read_submission(folder: Path, shared: Path) -> str:
    """The predictions in the folder."""
    from va_search.data.store import Store
    from va_search.submission.scoring import read_submission as read

    return repr(read(folder, Store.open(shared / "store")).tolist())
