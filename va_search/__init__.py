"""va-search: a distributed search over valence-arousal models, and the best ensemble per dimension
out of it.

    import va_search as va

    store = va.simulate("stores/simulated")            # or import_table, import_affwild2, open_store
    print(va.check_store(store).findings)
    study = va.run_search("any", store, study="first")  # the same call again goes on from there
    study.trials()                                      # a pandas DataFrame, one row per trial
    ensemble = va.build_ensemble(study, name="first-best")
    ensemble.scores, ensemble.members, ensemble.weights
    ensemble.submit("first-submission")
    ensemble.predict(va.open_store("stores/new"), split="test")

Wrong input raises InputError with all `.problems`; a job that fails raises JobError. Nothing heavy
is imported before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from va_search.api.archives import import_study as import_study
    from va_search.api.comparing import compare_studies as compare_studies
    from va_search.api.contents import list_studies as list_studies
    from va_search.api.data import check_store as check_store
    from va_search.api.data import draft_source as draft_source
    from va_search.api.data import draft_streams as draft_streams
    from va_search.api.data import extract_features as extract_features
    from va_search.api.data import import_affwild2 as import_affwild2
    from va_search.api.data import import_streams as import_streams
    from va_search.api.data import import_table as import_table
    from va_search.api.data import make_folds as make_folds
    from va_search.api.data import open_store as open_store
    from va_search.api.data import simulate as simulate
    from va_search.api.demo import run_demo as run_demo
    from va_search.api.diagnosis import diagnose as diagnose
    from va_search.api.ensembles import OpenEnsemble as OpenEnsemble
    from va_search.api.ensembles import build_ensemble as build_ensemble
    from va_search.api.ensembles import open_ensemble as open_ensemble
    from va_search.api.ensembles import write_report as write_report
    from va_search.api.ensembles import write_submissions as write_submissions
    from va_search.api.fitting import fit as fit
    from va_search.api.home import OpenHome as OpenHome
    from va_search.api.home import open_home as open_home
    from va_search.api.looking import look_at as look_at
    from va_search.api.recipes import Comparison as Comparison
    from va_search.api.recipes import compare_recipes as compare_recipes
    from va_search.api.reproduction import reproduce_paper as reproduce_paper
    from va_search.api.searching import load_space as load_space
    from va_search.api.searching import make_plan as make_plan
    from va_search.api.searching import preview_search as preview_search
    from va_search.api.searching import run_search as run_search
    from va_search.api.spaces import make_space as make_space
    from va_search.api.study import OpenStudy as OpenStudy
    from va_search.api.study import import_predictions as import_predictions
    from va_search.api.study import open_study as open_study
    from va_search.cluster.check import check_cluster as check_cluster
    from va_search.data.store import Store as Store
    from va_search.errors import InputError as InputError
    from va_search.errors import Interrupted as Interrupted
    from va_search.errors import JobError as JobError
    from va_search.errors import TimeIsUp as TimeIsUp
    from va_search.errors import VaSearchError as VaSearchError
    from va_search.search.machine import Options as Options

__version__ = "0.1.0"

_MODULES = {
    "api.archives": ("import_study",),
    "api.comparing": ("compare_studies",),
    "api.contents": ("list_studies",),
    "api.data": (
        "check_store",
        "draft_source",
        "draft_streams",
        "extract_features",
        "import_affwild2",
        "import_streams",
        "import_table",
        "make_folds",
        "open_store",
        "simulate",
    ),
    "api.demo": ("run_demo",),
    "api.diagnosis": ("diagnose",),
    "api.ensembles": (
        "OpenEnsemble",
        "build_ensemble",
        "open_ensemble",
        "write_report",
        "write_submissions",
    ),
    "api.fitting": ("fit",),
    "api.home": ("OpenHome", "open_home"),
    "api.looking": ("look_at",),
    "api.recipes": ("Comparison", "compare_recipes"),
    "api.reproduction": ("reproduce_paper",),
    "api.searching": ("load_space", "make_plan", "preview_search", "run_search"),
    "api.spaces": ("make_space",),
    "api.study": ("OpenStudy", "import_predictions", "open_study"),
    "cluster.check": ("check_cluster",),
    "data.store": ("Store",),
    "errors": ("InputError", "Interrupted", "JobError", "TimeIsUp", "VaSearchError"),
    "search.machine": ("Options",),
}
"""Names of the API by the module that has them, which is imported when a name is first used."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_MODULE_OF, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """The API's `name`, imported now."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'va_search' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"va_search.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names of the API, for completion in a notebook."""
    return sorted(__all__)
