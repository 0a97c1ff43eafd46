"""How many trials a study's space asks for, from the document that is noted with the study."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from va_search.data.store import Store
from va_search.errors import InputError


def planned_trials(document: Any, store: Store | None) -> int | None:
    """Trials of a whole search over the space; None where only time bounds it, or it can't be read
    on this store."""
    if not isinstance(document, dict) or store is None:
        return None
    from va_search.search import session
    from va_search.search.space import load_space

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        try:
            return session.planned_trials(load_space(path, store))
        except InputError:
            return None
