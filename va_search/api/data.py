"""Stores from Python: open, audit, divide into folds. The importers are the package's own
(`va_search.import_table` is `data/table.py`'s)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from va_search.data.check import Report
    from va_search.data.folding import Folding
    from va_search.data.store import Store


def open_store(place: Store | str | Path) -> Store:
    """Open the store at a folder in milliseconds, or at a URL once this machine has it.

    InputError when it is none, unfinished or cut short."""
    from va_search.data.store import Store

    return place if isinstance(place, Store) else Store.open(place)


def check_store(store: Store | str | Path) -> Report:
    """Audit a store: counts, lengths, labels, and in `.findings` what would spoil a study.

    Every value is read once. `.count("error")` says how many findings must be put right."""
    from va_search.data.check import check

    return check(open_store(store))


def make_folds(store: Store | str | Path, **options: Any) -> Folding:
    """Divide the labelled recordings into folds, once: people stay together, frames and labels are
    balanced.

    `options`, as in `data/folding.py`: `k` folds (6), `keep_validation` as fold k (False), `seed`,
    `tries`. Open the store again afterwards: one that is open knows no new folds. InputError when
    it has folds of its own, or made otherwise, or too few people."""
    from va_search.data.folding import make_folds as make

    path = store if isinstance(store, str | Path) else store.path
    return make(Path(path), **options)
