"""An ensemble in MLflow's model registry: a pyfunc model from code, its weights as safetensors,
beside its run.

Conventions: the registered model has the ensemble's name unless another is given, and a version for
every content: the same ensemble, weights and package again are the version that is there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import va_search
from va_search import __version__
from va_search.data.store import Store
from va_search.ensemble.fresh import content_id, note_registered
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, JobError
from va_search.files import checked_name, digest, file_hash
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.serving.rows import RATE
from va_search.serving.served import Served, example, schema, write_served
from va_search.tracking.door import tracking_place
from va_search.tracking.ensembles import log_ensemble
from va_search.tracking.models import Column, Model, answered, log_version
from va_search.tracking.shown import shown

LIBRARIES = (
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "PyYAML",
    "safetensors",
    "scipy",
    "torch",
)
"""Imports of the logged code, all it takes to serve the model elsewhere."""


@dataclass(frozen=True)
class Registered:
    """A version in the registry. `new` is False where it stood there already; `tracking_uri` has no
    password."""

    ensemble: str
    model: str
    version: int
    uri: str
    tracking_uri: str
    run: str
    new: bool
    columns: int
    members: int
    megabytes: float


def register(
    home: Home, ensemble: Ensemble, *, name: str | None = None, tracking_uri: str | None = None
) -> Registered:
    """Log the ensemble as a model and register it. The model predicts its own example before it is
    logged.

    InputError for members without weights (all named), and names that the registry can't have.
    """
    model = checked_name(name or ensemble.name, "model name")
    tracking = tracking_place(home, tracking_uri)
    with tempfile.TemporaryDirectory(prefix="va-search-model-") as temporary:
        folder = Path(temporary) / "ensemble"
        folder.mkdir()
        rate = _rate(ensemble)
        feature_sets = write_served(folder, ensemble, Bank(home.bank), rate)
        served = Served.open(folder)
        table = example(feature_sets, rate)
        rate_needed = rate is None and served.counts_seconds
        # The folder is tried before anything is logged: a version can't be taken back.
        _refuse_broken(served, table)
        if not rate_needed:
            _refuse_broken(served, table.drop(columns=[RATE]))
        columns = schema(feature_sets, rate_needed=rate_needed)
        with answered(tracking.uri):
            run = log_ensemble(tracking, ensemble.model_dump(mode="json"))
        logged = Model(
            name=model,
            run=run,
            content=_content(folder),
            code=Path(__file__).with_name("model.py"),
            package=Path(va_search.__file__).parent,
            folder=folder,
            columns=[Column(*column) for column in columns],
            example=table,
            requirements=_requirements(),
            about=_about(ensemble),
            build=content_id(ensemble),
            targets=ensemble.target_names,
        )
        # The version is of this content: the same ensemble again is the version that is there.
        uri = shown(tracking.uri)
        with answered(tracking.uri):
            version, new = log_version(tracking.uri, logged)
        note_registered(home, ensemble, model=model, version=version, tracking_uri=uri)
        megabytes = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
    return Registered(
        ensemble=ensemble.name,
        model=model,
        version=version,
        uri=f"models:/{model}/{version}",
        tracking_uri=uri,
        run=run,
        new=new,
        columns=sum(feature_set.dim for feature_set in feature_sets),
        members=len(served.members),
        megabytes=round(megabytes, 3),
    )


def _rate(ensemble: Ensemble) -> float | None:
    """The frame rate of the study's recordings; None where they have several, or the store is not
    there."""
    try:
        rates = {recording.frames_per_second for recording in Store.open(ensemble.store).recordings}
    except InputError:
        return None
    return rates.pop() if len(rates) == 1 else None


def _refuse_broken(served: Served, table: Any) -> None:
    predictions = served.predict(table)
    is_whole = predictions[list(served.ensemble.target_names)].notna().all(axis=None)
    if len(predictions) != len(table) or not is_whole:
        raise JobError(
            f"ensemble {served.ensemble.name!r} does not predict its own example; nothing was "
            "logged"
        )


def _content(folder: Path) -> str:
    """Hash of the package's version and of every file in the folder."""
    hashes = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder))
            hashes[name] = file_hash(path)
    return digest([__version__, hashes])


def _requirements() -> list[str]:
    """The libraries at the versions that are installed here, without a build's suffix such as
    +cpu."""
    from importlib.metadata import version

    return [f"{name}=={version(name).split('+')[0]}" for name in LIBRARIES]


def _about(ensemble: Ensemble) -> str:
    """The text on the registry's page of a version."""
    lines = [
        f"Ensemble `{ensemble.name}` of va-search {__version__}, recipe `{ensemble.recipe}`. "
        "Validation CCC:"
    ]
    for measured in ("out_of_fold", "in_sample"):
        scores = ensemble.scores[measured]
        if scores:
            cccs = ", ".join(f"{name} {scores[name]:.3f}" for name in ensemble.target_names)
            lines.append(f"- {measured.replace('_', '-')}: {cccs}")
    return "\n".join(lines)
