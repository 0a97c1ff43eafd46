"""A study's experiment in MLflow: called otherwise, or put among the deleted ones.

Both may be called again after a kill, and do nothing where the study was never tracked at the
place. What the server lacks afterwards, the next search of the study delivers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.tracking.door import OWNER, Place, every_run, experiment_tags, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

STUDY = "va_search.study"
NOTE = "mlflow.note.content"


def is_tracked(place: Place) -> bool:
    """Return False where the place is a home's own store that was never made."""
    prefix = "sqlite:///"
    if not place.uri.startswith(prefix):
        return True
    return Path(place.uri.removeprefix(prefix).partition("?")[0]).is_file()


def rename_experiment(place: Place, study: str, to: str) -> None:
    """Rename a study's experiment, and the study in the tags of all its runs. Raises what MLflow
    raises."""
    if not is_tracked(place):
        return
    client = open_client(place.uri)
    for experiment in _experiments(client, place, study):
        for run in every_run(client, experiment.experiment_id):
            name = run.info.run_id
            if run.data.tags.get(STUDY) == study:
                client.set_tag(name, STUDY, to)
            if run.data.tags.get("mlflow.runName") == f"study {study}":
                client.set_tag(name, "mlflow.runName", f"study {to}")
        note = experiment_tags(to, ["score"])[NOTE].splitlines()[0]
        rest = str(experiment.tags.get(NOTE, "")).partition("\n")[2]
        client.set_experiment_tag(experiment.experiment_id, NOTE, f"{note}\n{rest}")
        client.rename_experiment(experiment.experiment_id, experiment.name.replace(study, to, 1))
        # The tag that finds it comes last, so that the same call again ends a killed one.
        client.set_experiment_tag(experiment.experiment_id, STUDY, to)


def remove_experiment(place: Place, study: str) -> None:
    """Put a study's experiment among MLflow's deleted ones, under a name that says when, so that a
    new study may have its name. Raises what MLflow raises."""
    if not is_tracked(place):
        return
    client = open_client(place.uri)
    for experiment in _experiments(client, place, study):
        if experiment.name == study or experiment.name.startswith(f"{study} ("):
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            name = f"{experiment.name} removed {moment}"
            client.rename_experiment(experiment.experiment_id, name)
        client.delete_experiment(experiment.experiment_id)


def _experiments(client: MlflowClient, place: Place, study: str) -> list[Any]:
    """The experiments of this home's study, at most one unless somebody made more."""
    quoted = study.replace("'", "")
    experiments = client.search_experiments(filter_string=f"tags.`{STUDY}` = '{quoted}'")
    if place.owner is None:
        return list(experiments)
    # An experiment of a home that shares the server is not ours to touch.
    return [entry for entry in experiments if entry.tags.get(OWNER) == place.owner]
