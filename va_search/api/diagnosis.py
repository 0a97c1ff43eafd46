"""A look at the machine, a home and a store: what a search needs, each ok or what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.home import OpenHome, open_home

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.diagnosis.examination import Diagnosis


def diagnose(
    home: OpenHome | str | Path | None = None,
    store: Store | str | Path | None = None,
    *,
    tracking_uri: str | None = None,
) -> Diagnosis:
    """Check versions, GPU, memory, the home's file system, Ray's needs, proxies and MLflow; nothing
    stays behind.

    `.findings` by check, `.problems` among them; printed it is what `va-search doctor` shows, and
    `.document()` is what a bug report needs. `tracking_uri`: MLflow's server, if there is one."""
    from va_search.data.store import Store
    from va_search.diagnosis.checks import Subject
    from va_search.diagnosis.examination import examine

    files = open_home(home).files
    examined = str(store) if isinstance(store, Path) else store
    assert examined is None or isinstance(examined, str | Store)
    return examine(Subject(files, examined, tracking_uri))
