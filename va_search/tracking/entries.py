"""What a trial becomes in MLflow: flat params, metrics per epoch, tags. Pure functions, no
MLflow.

Conventions: every trial of a study has the same params ("-" for the settings of a training where a
model is from elsewhere, and for those of networks where it is none); per-epoch metrics have the
epoch as step; `best_*` stand once, at the epoch they were reached. Times are derived from the
trial, so logging it twice gives the same entries. CCCs are on the validation recordings; a trial on
train_val_mix has none, only its loss, and the tag va_search.validation says "none"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from va_search.data.store import OFFICIAL
from va_search.tracking.door import Entries, best_metric, run_tags
from va_search.trial import CCC_OF, Trial, TrialState
from va_search.trial_settings import NETWORK, unused

PER_EPOCH = ("score", "loss", "learning_rate")
"""Metrics of each epoch, after its CCCs."""
ONCE = ("frames_per_second", "seconds")
ABSENT = "-"


def trial_entries(trial: Trial, keys: Iterable[str]) -> Entries:
    """Params, metrics and tags of one trial; `keys` are the settings every trial of the study
    shows."""
    settings = trial.noted_settings or {}
    effective = _effective(settings)
    params = {
        key: text(effective[key]) if key in effective else ABSENT
        for key in sorted({*keys, *settings})
    }
    params["source"] = trial.source
    metrics = [] if trial.state is TrialState.FAILED else _metrics(trial)
    return Entries(params, metrics, trial_tags(trial))


def _effective(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings without those that a network has and a model of another family has not."""
    if _family(settings) == NETWORK:
        return settings
    without_effect = set(unused(settings))
    return {name: value for name, value in settings.items() if name not in without_effect}


def _family(settings: Mapping[str, Any]) -> str:
    """The family that settings name; those of earlier versions had one alone."""
    return str(settings.get("family", NETWORK))


def trial_tags(trial: Trial) -> dict[str, str]:
    """The tags that find a trial, and MLflow's own."""
    settings = trial.noted_settings or {}
    described = {
        "version": trial.package_version,
        "device": trial.device,
        "data_hash": trial.data_hash,
        "source": trial.source,
    }
    tags = {f"va_search.{tag}": str(value) for tag, value in described.items() if value is not None}
    tags |= {
        "mlflow.runName": run_name(trial),
        "va_search.role": "trial",
        "va_search.study": trial.study,
        "va_search.trial": trial.id,
        "va_search.fold": text(settings.get("fold", "official")),
        "va_search.finished_at": trial.finished_at or "",
        "va_search.failed": "" if trial.failure is None else trial.failure.reason,
        "va_search.stopped_early": text(bool(trial.stopped)),
    }
    if not trial.has_validation:
        tags["va_search.validation"] = "none"
    if trial.trained_in:
        tags["va_search.trained_in"] = trial.trained_in
    return tags | run_tags()


def run_name(trial: Trial) -> str:
    """A name people can tell trials by: what was trained on what, and the start of the id."""
    settings = trial.noted_settings
    if not settings:
        return trial.id
    features = "+".join(settings["features"])
    if len(features) > 40:
        features = f"{len(settings['features'])} feature sets"
    fold = "" if settings["fold"] == OFFICIAL else f" fold {settings['fold']}"
    family = _family(settings)
    model = settings["encoder"] if family == NETWORK else family
    return f"{model} {features} seed {settings['seed']}{fold} ({trial.id[:6]})"


def times(trial: Trial) -> tuple[int, int]:
    """Start and end in milliseconds since 1970, from when the trial finished and how long it
    took."""
    finished = trial.finished_at
    moment = datetime.fromisoformat(finished) if finished else datetime.now(UTC)
    end = int(moment.timestamp() * 1000)
    return end - int(1000 * (trial.seconds or 0.0)), end


def text(value: Any) -> str:
    """A setting as MLflow shows it: lists joined by "+", null as none."""
    if isinstance(value, list | tuple):
        return "+".join(text(item) for item in value)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def best_of(trial: Trial) -> dict[str, tuple[float, int]]:
    """The `best_*` metrics of a complete trial as (value, epoch), with the digits a table of scores
    has.

    None of them for a trial without validation (train_val_mix).
    """
    if not trial.best:
        return {}
    metrics = {}
    for target, best in trial.best.items():
        metrics[best_metric(target)] = (round(best.ccc, 5), best.epoch or 0)
    return metrics


def _metrics(trial: Trial) -> list[tuple[str, float, int, int]]:
    """Metrics of a trial as (name, value, time in ms, step)."""
    _, end = times(trial)
    metrics: list[tuple[str, float, int, int]] = []
    # A record has the time of its end alone: an epoch ended so many seconds before.
    seconds_left = 0.0
    for epoch in reversed(trial.history):
        time = end - int(1000 * seconds_left)
        row = epoch.to_json()
        cccs = [f"{CCC_OF}{target}" for target in epoch.cccs]
        for key in (*cccs, *PER_EPOCH):
            value: Any = row.get(key)
            if _is_number(value):
                metrics.append((key, value, time, epoch.epoch))
        seconds_left += epoch.seconds
    metrics.reverse()
    metrics += [
        (name, value, end, epoch)
        for name, (value, epoch) in best_of(trial).items()
        if math.isfinite(value)
    ]
    once = {key: getattr(trial, key) for key in ONCE}
    metrics += [(key, float(value), end, 0) for key, value in once.items() if _is_number(value)]
    return metrics


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
