"""The door to MLflow: where a study is tracked, a quiet client, experiments by name, entries in
batches.

MLflow takes seconds to import, so nothing here imports it before a client is asked for. No
telemetry, no log lines, no progress bars. One experiment per study; only the process that drives a
search writes (SQLite takes one writer)."""

from __future__ import annotations

import getpass
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from va_search.errors import InputError, JobError
from va_search.home import Home
from va_search.targets import AFFECT
from va_search.tracking.shown import shown
from va_search.trial import CCC_OF, SCORE

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment that is set unless the user has set it; retrying is ours, so a request fails soon."""

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks", "databricks-uc")
METRICS, PARAMS, TAGS, ENTRIES = 900, 100, 100, 1000
"""MLflow's limits for one batch (of 1000 metrics, room is left for the rest)."""

VALUE_LENGTH = 6000
"""Characters of a param's value; what is longer is cut."""

MOST_PAGES = 10_000
"""Pages of 500 runs that an experiment may have."""


OWNER = "va_search.home"
"""Tag of an experiment: the identity of the home whose study it is."""

LOG = logging.getLogger(__name__)

TRIALS_VIEW = "trials"
"""Key of the view of an experiment's page that lists the trials, best first."""


@dataclass(frozen=True)
class Place:
    """The store or server a study is tracked at; `artifacts` is None where the server keeps them itself.

    `sharer` is the home, where several homes may share the place; None for the home's own store.
    """

    uri: str
    artifacts: Path | None
    sharer: Home | None = None

    @property
    def owner(self) -> str | None:
        """The identity that tells this home's studies from others' of the same name; None where
        there are no others."""
        return None if self.sharer is None else self.sharer.identity()


@dataclass
class Entries:
    """Entries of one run: params and tags by name, metrics as (name, value, time in ms,
    step)."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParentRun:
    """A study's parent run as it begins: params and tags by name, artifacts as file name to text
    or JSON document; `targets`: the store's, by name, whose metrics its page lists."""

    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    targets: Sequence[str] = AFFECT


def tracking_place(home: Home, given: str | None) -> Place:
    """The home's own SQLite store, or the store or server at `given`; InputError for what MLflow
    can't track to."""
    if given is None:
        return Place(home.tracking_uri, home.artifacts)
    scheme = urlsplit(given).scheme.split("+")[0]
    if scheme not in SCHEMES and not given.startswith("databricks"):
        raise InputError(
            f"tracking URI {shown(given)!r}: expected a server such as http://127.0.0.1:5000 or a database such as "
            f"{home.tracking_uri}; allowed: {', '.join(SCHEMES)} (MLflow no longer takes plain folders)"
        )
    is_own = given == home.tracking_uri
    return Place(given, home.artifacts if scheme == "sqlite" else None, None if is_own else home)


def open_client(uri: str) -> MlflowClient:
    """A client for the store at `uri`; an SQLite store is created and brought up to date here."""
    be_quiet()
    from mlflow import MlflowClient

    new = _new_sqlite_file(uri)
    if new is not None:
        _make_whole(new)
    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def identity_of_database(uri: str) -> tuple[int, int] | None:
    """Return device and inode of the file of an SQLite store; None where there is none."""
    try:
        status = _sqlite_file(uri).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def forget_connections(uri: str) -> None:
    """Close MLflow's connections to the database at `uri`: to a file that was deleted they would
    never write again, and MLflow keeps them."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.get(uri)
    if engine is not None:
        engine.dispose()


def _sqlite_file(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _new_sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store that does not exist yet; None for any other store."""
    path = _sqlite_file(uri)
    return path if uri.startswith("sqlite:///") and not path.exists() else None


def _make_whole(path: Path) -> None:
    """Create a store beside `path` and then link it there: half of MLflow's tables, which a kill in
    these seconds would leave, it can't ever open again. Where another process was sooner, its store
    stays."""
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        MlflowClient(tracking_uri=f"sqlite:///{beside}").search_experiments(max_results=1)
        with suppress(FileExistsError):
            os.link(beside, path)
    # On a file system without links MLflow makes the store in its place.
    except OSError:
        return
    finally:
        beside.unlink(missing_ok=True)


def be_quiet() -> None:
    """No telemetry, log lines or progress bars, unless the user has asked for them; before MLflow
    is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def open_experiment(
    client: MlflowClient,
    study: str,
    artifacts: Path | None,
    owner: str | None = None,
    targets: Sequence[str] = AFFECT,
) -> str:
    """Return the id of the study's experiment; made where there is none, brought back where it was
    deleted. `targets`: those whose metrics its page lists.

    With an `owner` (a home's identity) an experiment of that name that belongs to another home is
    left alone, and this home's gets a name of its own: "<study> (<start of the identity>)"."""
    name = study
    # A study of the same name may be another home's, at a server that several homes share.
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and owner is not None and experiment.tags.get(OWNER, owner) != owner:
        name = f"{study} ({owner[:6]})"
        LOG.warning(
            "MLflow: experiment %r there belongs to another home; this study's is %r", study, name
        )
        experiment = client.get_experiment_by_name(name)
    tags = experiment_tags(study, targets)
    if owner is not None:
        tags[OWNER] = owner
    if experiment is None:
        location = None if artifacts is None else (artifacts.resolve() / name).as_uri()
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    for key, value in tags.items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


def best_metric(measure: str) -> str:
    """Return the name of the metric with the best CCC of a target, or the best score."""
    return f"best_{measure}" if measure == SCORE else f"best_{CCC_OF}{measure}"


def experiment_tags(study: str, targets: Sequence[str]) -> dict[str, str]:
    """Return the experiment's tags: what its page says about itself, and the view of its trials."""
    metrics = [f"`{best_metric(measure)}`" for measure in (SCORE, *targets)]
    note = (
        f"Study `{study}` of va-search: one parent run for the study, one child run per trial (a "
        "configuration, trained once, on one fold, with one seed).\n\n"
        f"Sort by {', '.join(metrics[:-1])} or {metrics[-1]}: validation CCC at the best epoch, "
        "chosen on that same split, so slightly optimistic.\n\n"
        f"Filter such as: `params.encoder = 'gru' and metrics.{best_metric(targets[0])} > 0.5`"
    )
    return {
        "mlflow.note.content": note,
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{TRIALS_VIEW}": trials_view(targets),
        "va_search.study": study,
    }


def trials_view(targets: Sequence[str]) -> str:
    """Return the saved view "trials by score": trials alone, best first, with the columns that tell them
    apart.

    MLflow's page offers it under Views, and opens with it when `?viewStateShareKey=trials` stands
    in the address."""
    metrics = [f"metrics.`{best_metric(measure)}`" for measure in (SCORE, *targets)]
    params = [
        f"params.`{name}`"
        for name in ("encoder", "fusion", "features", "normalise", "learning_rate", "seed")
    ]
    state = {
        "searchFilter": "tags.`va_search.role` = 'trial'",
        "orderByKey": metrics[0],
        "orderByAsc": False,
        "selectedColumns": [*metrics, *params],
    }
    return json.dumps(
        {"name": "trials by score", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    )


def run_tags() -> dict[str, str]:
    """Return the tags behind MLflow's own columns: who ran it, and with what."""
    try:
        user = getpass.getuser()
    # A container may have no name for its user.
    except (KeyError, OSError):
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "va-search", "mlflow.source.type": "LOCAL"}


def log_entries(client: MlflowClient, run_id: str, entries: Entries) -> None:
    """Log everything in as few calls as MLflow's limits allow: for a usual trial, one."""
    from mlflow.entities import Metric, Param, RunTag

    params = [Param(name, value[:VALUE_LENGTH]) for name, value in entries.params.items()]
    tags = [RunTag(name, value[:VALUE_LENGTH]) for name, value in entries.tags.items()]
    metrics = [Metric(name, value, time, step) for name, value, time, step in entries.metrics]
    while params or tags or metrics:
        some_params, params = params[:PARAMS], params[PARAMS:]
        some_tags, tags = tags[:TAGS], tags[TAGS:]
        room = min(METRICS, ENTRIES - len(some_params) - len(some_tags))
        some_metrics, metrics = metrics[:room], metrics[room:]
        client.log_batch(run_id, metrics=some_metrics, params=some_params, tags=some_tags)


def every_run(client: MlflowClient, experiment: str, condition: str = "") -> list[Any]:
    """All runs of an experiment that are not deleted, page by page; JobError for a server that never
    comes to the last one."""
    runs: list[Any] = []
    token = None
    tokens: set[str] = set()
    while True:
        page = client.search_runs(
            [experiment], filter_string=condition, max_results=500, page_token=token
        )
        runs.extend(page)
        token = page.token
        if not token:
            return runs
        if token in tokens or len(tokens) > MOST_PAGES:
            raise JobError("MLflow's server sends pages of runs without end")
        tokens.add(token)
