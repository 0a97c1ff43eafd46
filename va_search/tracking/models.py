"""A model in MLflow's registry: logged from code, never pickled, one version per content."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.errors import JobError
from va_search.targets import AFFECT
from va_search.tracking.door import be_quiet, open_client
from va_search.tracking.shown import reason, shown

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

CONTENT = "va_search.content"
"""Tag of a version: the hash of what it predicts with."""
BUILD = "va_search.ensemble_content"
"""Tag of a version: the content id of the ensemble that it was made of."""


@dataclass(frozen=True)
class Column:
    """A column of the model's input: MLflow's name of its type, and whether a table must have
    it."""

    name: str
    type: str
    needed: bool


@dataclass(frozen=True)
class Model:
    """All that is logged. `code` is the file MLflow runs, `package` the folder of the code that it
    imports, `folder` the artifact `ensemble`; `content` is the same exactly when the model is.
    `targets`: columns of the output after the recording."""

    name: str
    run: str
    content: str
    code: Path
    package: Path
    folder: Path
    columns: list[Column]
    example: pd.DataFrame
    requirements: list[str]
    about: str
    build: str = ""
    targets: Sequence[str] = AFFECT


def log_version(uri: str, model: Model) -> tuple[int, bool]:
    """Log the model under its run and register it; its version, and whether that is a new one."""
    client = open_client(uri)
    # The same content again is the version that stands there.
    same = _version_of(client, model)
    if same is not None:
        return same, False
    if not client.search_registered_models(f"name = '{model.name}'"):
        client.create_registered_model(model.name, tags={"va_search.role": "ensemble"})
    with _fluent(uri):
        logged = _log(model)
        version = client.create_model_version(
            model.name,
            logged.model_uri,
            run_id=model.run,
            tags={CONTENT: model.content, BUILD: model.build},
            description=model.about,
            model_id=logged.model_id,
        )
    return int(version.version), True


def older_versions(uri: str, run: str, build: str, built_at: str) -> list[str]:
    """`models:/NAME/VERSION` of the newest version of each model of an ensemble's run that is of an
    earlier build.

    `build`: the ensemble's content id. A version from before these were noted is older when it was
    made before `built_at` (ISO 8601). Raises what MLflow raises for a store out of reach."""
    client = open_client(uri)
    newest: dict[str, Any] = {}
    for version in client.search_model_versions(f"run_id = '{run}'"):
        newer = newest.get(version.name)
        if newer is None or int(version.version) > int(newer.version):
            newest[version.name] = version
    since = datetime.fromisoformat(built_at).timestamp() * 1000
    older = []
    for name, version in sorted(newest.items()):
        tag = version.tags.get(BUILD)
        if tag != build and (tag or version.creation_timestamp < since):
            older.append(f"models:/{name}/{version.version}")
    return older


@contextmanager
def answered(uri: str) -> Iterator[None]:
    """MLflow's exceptions, its database's, and those of answers that are none, as JobError: where it
    is, and what it said."""
    be_quiet()
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # Protobuf's parser in C raises SystemError for half a sign in a name.
    except (MlflowException, SQLAlchemyError, ParseError, SystemError) as error:
        raise JobError(
            f"MLflow at {shown(uri)}: {reason(error, uri)}; the same command tries again"
        ) from error


@contextmanager
def _fluent(uri: str) -> Iterator[None]:
    """MLflow's functions that know one server per process, which alone can log models, turned to
    the one at `uri`."""
    import mlflow

    uri_before, bytecode = os.environ.get("MLFLOW_TRACKING_URI"), sys.dont_write_bytecode
    # A project around the current folder is not the model's.
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    mlflow.set_tracking_uri(uri)
    # It tries the model where it lies, which would leave .pyc files among its code.
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        mlflow.set_tracking_uri(uri_before)


def _version_of(client: MlflowClient, model: Model) -> int | None:
    """Return the newest version with the model's content; None where there is none."""
    same = []
    for version in client.search_model_versions(f"name = '{model.name}'"):
        if version.tags.get(CONTENT) == model.content and version.status == "READY":
            same.append(int(version.version))
    return max(same, default=None)


def _log(model: Model) -> Any:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    needed = []
    for column in model.columns:
        needed.append(ColSpec(column.type, column.name, required=column.needed))
    predicted = [ColSpec("double", target) for target in model.targets]
    signature = ModelSignature(
        inputs=Schema(needed), outputs=Schema([ColSpec("string", "recording"), *predicted])
    )
    with mlflow.start_run(run_id=model.run, log_system_metrics=False):
        return mlflow.pyfunc.log_model(
            name=model.name,
            python_model=str(model.code),
            code_paths=[str(model.package)],
            artifacts={"ensemble": str(model.folder)},
            signature=signature,
            input_example=model.example,
            pip_requirements=model.requirements,
        )
