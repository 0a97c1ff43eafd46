"""An ensemble in MLflow: a run of its own in its first study's experiment, the same run for the
same name.

Every metric says in its name what it was measured on: in_sample_ccc_valence, out_of_fold_score, …
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from va_search import __version__
from va_search.tracking.door import (
    Entries,
    Place,
    every_run,
    log_entries,
    open_client,
    open_experiment,
    run_tags,
)
from va_search.tracking.entries import text
from va_search.tracking.shown import reason, shown

LOG = logging.getLogger(__name__)


def log_ensemble(place: Place, ensemble: dict[str, Any], explanation: Path | None = None) -> str:
    """Log an ensemble's JSON document, and the files in the folder `explanation` where there is
    one, as `explanation/`.

    Returns its run id. Raises what MLflow raises for a store out of reach; where only artifacts
    can't be stored, the run has its params and metrics and a warning says why."""
    client = open_client(place.uri)
    study = str(ensemble["studies"][0])
    experiment = open_experiment(client, study, place.artifacts, place.owner, _targets(ensemble))
    name = str(ensemble["name"])
    found = every_run(client, experiment, f"tags.`va_search.ensemble` = '{name}'")
    now = int(time.time() * 1000)
    tags = {
        **run_tags(),
        "mlflow.runName": f"ensemble {name}",
        "va_search.role": "ensemble",
        "va_search.ensemble": name,
        "va_search.study": study,
        "va_search.version": __version__,
    }
    if found:
        run = str(found[0].info.run_id)
        client.update_run(run, status="RUNNING")
    else:
        run = str(client.create_run(experiment, start_time=now, tags=tags).info.run_id)
    # an ensemble of the same name may be built anew by another recipe, and params can't change: so
    # these are tags too
    tags |= {f"va_search.{key}": value for key, value in _facts(ensemble).items()}
    params = {} if found else {"source": "ensemble", **_facts(ensemble)}
    metrics = [(key, value, now, 0) for key, value in ensemble_metrics(ensemble)]
    log_entries(client, run, Entries(params, metrics, tags))
    try:
        client.log_text(run, json.dumps(ensemble, indent=1) + "\n", "ensemble.json")
        if explanation is not None:
            client.log_artifacts(run, str(explanation), "explanation")
    except Exception as error:  # whatever storage answers, the run itself is whole
        why = reason(error, place.uri)
        LOG.warning(
            "MLflow at %s has the scores of ensemble %s, but no artifacts: %s",
            shown(place.uri),
            name,
            why,
        )
    client.set_terminated(run, status="FINISHED")
    return run


def ensemble_metrics(ensemble: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Scores by what they were measured on, the best single trial's beside them, and the number of
    members."""
    for measure, values in ensemble.get("scores", {}).items():
        yield from _measured(measure, values)
    for measure, values in ensemble.get("best_single", {}).items():
        for key, value in _measured(measure, values):
            yield f"best_single_{key}", value
    for target in _targets(ensemble):
        yield f"members_{target}", float(len(_members(ensemble, target)))


def _targets(ensemble: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the targets it predicts; a blend's are those of its parts."""
    parts = ensemble.get("parts") or []
    if parts:
        return _targets(parts[0]["ensemble"])
    return tuple(ensemble["dimensions"])


def _members(ensemble: dict[str, Any], target: str) -> list[tuple[str, str]]:
    """Return study and trial of the members of one target; of a blend those of all its parts, each
    once."""
    parts = ensemble.get("parts") or []
    if not parts:
        members = ensemble["dimensions"][target]["members"]
        return [(member["study"], member["trial"]) for member in members]
    once: dict[tuple[str, str], None] = {}
    for part in parts:
        once |= dict.fromkeys(_members(part["ensemble"], target))
    return list(once)


def _measured(measure: str, values: Any) -> Iterator[tuple[str, float]]:
    for name, value in (values or {}).items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield f"{measure}_{'score' if name == 'score' else f'ccc_{name}'}", float(value)


def _facts(ensemble: dict[str, Any]) -> dict[str, str]:
    return {"recipe": text(ensemble["recipe"]), "studies": text(ensemble["studies"])}
