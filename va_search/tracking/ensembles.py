"""An ensemble in MLflow: a run of its own in its first study's experiment, the same run for the
same name.

Every metric says in its name what it was measured on: in_sample_ccc_valence, out_of_fold_score, …
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from va_search.trial import CCC_OF, SCORE

LOG = logging.getLogger(__name__)
DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow's pages show as a run's description."""
VERDICT_FILE = "verdict.txt"

Members = Mapping[str, Sequence[tuple[str, str]]]
"""Study and trial of the members, by target."""


@dataclass(frozen=True)
class TrackedEnsemble:
    """An ensemble as its run describes it. `scores`, and those of the best single trial:
    {in_sample, out_of_fold} -> {each target, score}, None where nothing could be measured."""

    name: str
    recipe: str
    studies: Sequence[str]
    scores: Mapping[str, Mapping[str, float] | None]
    best_single: Mapping[str, Mapping[str, float] | None]
    members: Members

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrackedEnsemble:
        """Return an ensemble as its file has it."""
        return cls(
            name=str(document["name"]),
            recipe=str(document["recipe"]),
            studies=document["studies"],
            scores=document.get("scores", {}),
            best_single=document.get("best_single", {}),
            members=_members(document),
        )

    @property
    def facts(self) -> dict[str, str]:
        """Params and tags that tell how it was built."""
        return {"recipe": text(self.recipe), "studies": text(self.studies)}

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Scores by what they were measured on, the best single trial's beside them, and the number
        of members."""
        for measured_on, scores in self.scores.items():
            yield from _measured(measured_on, scores)
        for measured_on, scores in self.best_single.items():
            for name, value in _measured(measured_on, scores):
                yield f"best_single_{name}", value
        for target, members in self.members.items():
            yield f"members_{target}", float(len(members))


@dataclass(frozen=True)
class TrackedVerdict:
    """The verdict on an ensemble as its run shows it: `text` for the artifact verdict.txt,
    `markdown` for the run's description."""

    text: str
    markdown: str


def log_ensemble(
    place: Place,
    document: Mapping[str, Any],
    explanation: Path | None = None,
    verdict: TrackedVerdict | None = None,
) -> str:
    """Log an ensemble's JSON document, the verdict on it, and the files in the folder `explanation`
    where there is one, as `explanation/`.

    Returns its run id. Raises what MLflow raises for a store out of reach; where only artifacts
    can't be stored, the run has its params and metrics and a warning says why."""
    client = open_client(place.uri)
    ensemble = TrackedEnsemble.from_json(document)
    name, study = ensemble.name, ensemble.studies[0]
    targets = tuple(ensemble.members)
    experiment = open_experiment(client, study, place.artifacts, place.owner, targets)
    runs = every_run(client, experiment, f"tags.`va_search.ensemble` = '{name}'")
    moment = int(time.time() * 1000)
    tags = {
        **run_tags(),
        "mlflow.runName": f"ensemble {name}",
        "va_search.role": "ensemble",
        "va_search.ensemble": name,
        "va_search.study": study,
        "va_search.version": __version__,
    }
    if runs:
        run = str(runs[0].info.run_id)
        client.update_run(run, status="RUNNING")
    else:
        run = str(client.create_run(experiment, start_time=moment, tags=tags).info.run_id)
    # An ensemble of the same name may be built anew by another recipe, and params can't change: so
    # these are tags, too.
    tags |= {f"va_search.{key}": value for key, value in ensemble.facts.items()}
    if verdict is not None:
        tags[DESCRIPTION] = verdict.markdown
    params = {} if runs else {"source": "ensemble", **ensemble.facts}
    metrics = [(key, value, moment, 0) for key, value in ensemble.metrics()]
    log_entries(client, run, Entries(params, metrics, tags))
    try:
        client.log_text(run, json.dumps(document, indent=1) + "\n", "ensemble.json")
        if verdict is not None:
            client.log_text(run, verdict.text + "\n", VERDICT_FILE)
        if explanation is not None:
            client.log_artifacts(run, str(explanation), "explanation")
    # Whatever storage answers, the run itself is whole.
    except Exception as error:
        problem = reason(error, place.uri)
        LOG.warning(
            "MLflow at %s has the scores of ensemble %s, but no artifacts: %s",
            shown(place.uri),
            name,
            problem,
        )
    client.set_terminated(run, status="FINISHED")
    return run


def renew_verdict(place: Place, run: str, verdict: TrackedVerdict) -> None:
    """Show this verdict on an ensemble's run in place of the one that is there; a place that does not
    take it keeps that one."""
    with suppress(Exception):
        client = open_client(place.uri)
        client.set_tag(run, DESCRIPTION, verdict.markdown)
        client.log_text(run, verdict.text + "\n", VERDICT_FILE)


def _members(document: Mapping[str, Any]) -> Members:
    """Return the members of an ensemble; of a blend those of all its parts, each once."""
    parts = document.get("parts") or []
    if not parts:
        by_target = {}
        for target, weighted in document["dimensions"].items():
            members = weighted["members"]
            by_target[target] = [(member["study"], member["trial"]) for member in members]
        return by_target
    once: dict[str, dict[tuple[str, str], None]] = {}
    for part in parts:
        for target, pairs in _members(part["ensemble"]).items():
            once.setdefault(target, {}).update(dict.fromkeys(pairs))
    return {target: list(pairs) for target, pairs in once.items()}


def _measured(measured_on: str, scores: Mapping[str, float] | None) -> Iterator[tuple[str, float]]:
    """Yield name and value of each score that is a number."""
    for name, value in (scores or {}).items():
        if isinstance(value, int | float) and math.isfinite(value):
            measure = name if name == SCORE else f"{CCC_OF}{name}"
            yield f"{measured_on}_{measure}", float(value)
