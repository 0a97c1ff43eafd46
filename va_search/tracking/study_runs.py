"""A study in MLflow: its experiment, its parent run, and a child run for each trial, never two for
one.

What the server already has is asked once, at the start: a trial with a finished run is passed over,
an unfinished run is gone on with. A run is set to its end only after everything else is logged, so
a finished run is a whole one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import yaml

from va_search.files import whole_file
from va_search.tracking.door import (
    Entries,
    ParentRun,
    every_run,
    log_entries,
    open_client,
    open_experiment,
    run_tags,
)
from va_search.tracking.entries import best_of, text, times, trial_entries
from va_search.tracking.shown import reason
from va_search.trial import Trial, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient

TABLE = {"columns", "data"}
"""Keys of a document that MLflow's page shows as a table."""


@dataclass
class Known:
    """A run the server has: its status, and when the record in it had finished."""

    run: str
    status: str
    finished_at: str


class StudyRuns:
    """The runs of one study on one server. Every method may raise what MLflow raises; then make a
    new one."""

    def __init__(
        self,
        uri: str,
        study: str,
        artifacts: Path | None,
        parent: ParentRun,
        owner: str | None = None,
    ) -> None:
        self._uri = uri
        self._client: MlflowClient = open_client(uri)
        self._study = study
        self.artifact_problem: str | None = None
        self._experiment = open_experiment(self._client, study, artifacts, owner, parent.targets)
        self._known: dict[str, Known] = {}
        self._parent_metrics: dict[str, float] = {}
        parent_run = self._ask()
        self._parent = self._begin(parent_run, parent)

    @property
    def experiment(self) -> str:
        """The experiment's id on the server."""
        return self._experiment

    def deliver(self, trial: Trial, keys: set[str]) -> None:
        """Log one trial, complete or failed, unless the server has it already."""
        if self.has(trial):
            return
        status = status_of(trial)
        run_before = self._known.get(trial.id)
        start, end = times(trial)
        entries = trial_entries(trial, keys)
        if run_before is None:
            tags = {**entries.tags, "mlflow.parentRunId": self._parent}
            info = self._client.create_run(self._experiment, start_time=start, tags=tags).info
            run, artifacts = str(info.run_id), str(info.artifact_uri)
            entries.tags.clear()
        else:
            run, artifacts = run_before.run, ""
            self._client.update_run(run, status="RUNNING")
        self._known[trial.id] = Known(run, "RUNNING", "")
        log_entries(self._client, run, entries)
        self._log_texts(run, artifacts, trial)
        self._client.set_terminated(run, status=status, end_time=end)
        self._known[trial.id] = Known(run, status, trial.finished_at or "")

    def finish(self, trials: list[Trial], status: str, artifacts: Mapping[str, Any]) -> None:
        """Give the parent run the study's best, what else it came to (artifacts by file name) and
        its status."""
        complete = [trial for trial in trials if trial.state is not TrialState.FAILED]
        trained = [trial for trial in complete if trial.source == "trained" and trial.best]
        values = {
            "trials_complete": float(len(complete)),
            "trials_failed": float(len(trials) - len(complete)),
        }
        for trial in trained:
            for name, (value, _) in best_of(trial).items():
                values[name] = max(value, values.get(name, value))
        moment = int(time.time() * 1000)
        # A metric that is logged again would be a second point of its curve.
        changed = [
            (name, value, moment, 0)
            for name, value in values.items()
            if self._parent_metrics.get(name) != value
        ]
        log_entries(self._client, self._parent, Entries(metrics=changed))
        for name, content in artifacts.items():
            self._log_text(self._parent, _written(name, content), name)
        self._client.set_terminated(self._parent, status=status)

    def show(self, contents: Mapping[str, Any]) -> None:
        """Replace artifacts of the parent run; a document of `columns` and `data` is a table in
        MLflow's page."""
        for name, content in contents.items():
            self._log_text(self._parent, _written(name, content), name)
        tables = [
            name
            for name, content in contents.items()
            if isinstance(content, dict) and set(content) == TABLE
        ]
        if tables:
            listed = json.dumps([{"path": name, "type": "table"} for name in tables])
            self._client.set_tag(self._parent, "mlflow.loggedArtifacts", listed)

    def has(self, trial: Trial) -> bool:
        """Return True if the server has the trial as it is now (its settings and history are not
        looked at).

        A trained trial is the same for ever; a failure and a model from elsewhere may be newer than
        the run."""
        known = self._known.get(trial.id)
        if known is None:
            return False
        if known.status == "FINISHED" and not trial.is_outside:
            return True
        is_same = known.finished_at == (trial.finished_at or "")
        return is_same and known.status == status_of(trial)

    def _ask(self) -> Any | None:
        """Learn what the server has; returns the parent run where there is one."""
        parent = None
        for run in every_run(self._client, self._experiment):
            tags = run.data.tags
            if tags.get("va_search.role") == "study":
                parent = run
            elif "va_search.trial" in tags:
                entry = Known(
                    run.info.run_id, run.info.status, tags.get("va_search.finished_at", "")
                )
                # Of two runs of one trial a finished one is the whole one.
                other = self._known.get(tags["va_search.trial"])
                if other is None or other.status != "FINISHED":
                    self._known[tags["va_search.trial"]] = entry
        return parent

    def _begin(self, found: Any | None, parent: ParentRun) -> str:
        params = {key: text(value) for key, value in parent.params.items()}
        tags = {
            **{key: text(value) for key, value in parent.tags.items()},
            **run_tags(),
            "mlflow.runName": f"study {self._study}",
            "va_search.role": "study",
            "va_search.study": self._study,
        }
        if found is None:
            run = str(self._client.create_run(self._experiment, tags=tags).info.run_id)
            old: dict[str, str] = {}
        else:
            run, old = str(found.info.run_id), dict(found.data.params)
            self._parent_metrics = dict(found.data.metrics)
            self._client.update_run(run, status="RUNNING")
        # A param can't be changed: where the space changed since, a tag of the same name has the
        # newest value.
        tags |= {key: value for key, value in params.items() if old.get(key, value) != value}
        fresh = {key: value for key, value in params.items() if key not in old}
        log_entries(self._client, run, Entries(params=fresh, tags=tags))
        for name, content in parent.artifacts.items():
            self._log_text(run, _written(name, content), name)
        return run

    def _log_texts(self, run: str, artifacts: str, trial: Trial) -> None:
        """Settings and traceback as files of a run whose artifacts are at this URI, "" where it
        must be asked for."""
        texts = {}
        if trial.noted_settings:
            texts["settings.json"] = _json(trial.noted_settings)
        if trial.failure is not None:
            texts["traceback.txt"] = trial.failure.traceback
        for name, content in texts.items():
            self._log_text(run, content, name, artifacts)

    def _log_text(self, run: str, content: str, name: str, artifacts: str = "") -> None:
        """Store one artifact. A place that takes none costs the artifacts, never params and
        metrics: after the first that fails no other is tried by this connection, and
        `artifact_problem` says why."""
        if self.artifact_problem is not None:
            return
        try:
            # Of a folder `log_text` would ask the database where that is, three times.
            if artifacts.startswith("file:///"):
                with whole_file(Path(url2pathname(urlsplit(artifacts).path)) / name) as beside:
                    beside.write_text(content, encoding="utf-8")
            else:
                self._client.log_text(run, content, name)
        # Whatever storage answers, the run itself is not in danger.
        except Exception as error:
            self.artifact_problem = reason(error, self._uri)


def status_of(trial: Trial) -> str:
    """Return the status of a trial's run, as MLflow names it."""
    return "FAILED" if trial.state is TrialState.FAILED else "FINISHED"


def _written(name: str, content: Any) -> str:
    """An artifact's text: as it is, or a document as YAML or JSON, as its name says."""
    if isinstance(content, str):
        return content
    return yaml.safe_dump(content, sort_keys=False) if name.endswith(".yaml") else _json(content)


def _json(document: Any) -> str:
    return json.dumps(document, indent=1) + "\n"
