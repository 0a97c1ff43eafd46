"""What a trial's record becomes in MLflow: flat params, metrics per epoch, tags. Pure functions, no
MLflow.

Conventions: every trial of a study has the same params (a model from elsewhere has "-" for the
settings of a training); per-epoch metrics have the epoch as step; `best_*` stand once, at the epoch
they were reached. Times are derived from the record, so logging a record twice gives the same
entries. CCCs are on the validation recordings; a trial on train_val_mix has none, only its loss,
and the tag va_search.validation says "none"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from va_search.data.store import MIX, OFFICIAL
from va_search.tracking.door import Entries, run_tags

PER_EPOCH = ("ccc_valence", "ccc_arousal", "score", "loss", "learning_rate")
BEST = ("best_ccc_valence", "best_ccc_arousal", "best_score")
ONCE = ("frames_per_second", "seconds")
TAGGED = {
    "version": "package_version",
    "device": "device",
    "data_hash": "data_hash",
    "source": "source",
}
"""Tags va_search.<name> and the key of the record they show."""

ABSENT = "-"


def trial_entries(record: dict[str, Any], keys: Iterable[str]) -> Entries:
    """Params, metrics and tags of one record; `keys` are the settings every trial of the study
    shows."""
    settings = record.get("settings") or {}
    params = {
        key: text(settings[key]) if key in settings else ABSENT
        for key in sorted({*keys, *settings})
    }
    params["source"] = str(record.get("source", "trained"))
    return Entries(params, [] if "failed" in record else _metrics(record), trial_tags(record))


def trial_tags(record: dict[str, Any]) -> dict[str, str]:
    """The tags that find a trial, and MLflow's own."""
    settings = record.get("settings") or {}
    tags = {
        f"va_search.{tag}": str(record[key])
        for tag, key in TAGGED.items()
        if record.get(key) is not None
    }
    tags |= {
        "mlflow.runName": run_name(record),
        "va_search.role": "trial",
        "va_search.study": str(record["study"]),
        "va_search.trial": str(record["trial"]),
        "va_search.fold": text(settings.get("fold", "official")),
        "va_search.finished_at": str(record.get("finished_at", "")),
        "va_search.failed": last_line(record["failed"]) if "failed" in record else "",
        "va_search.stopped_early": text(bool(record.get("stopped", False))),
    }
    if settings.get("fold") == MIX:
        tags["va_search.validation"] = "none"
    if record.get("trained_in"):
        tags["va_search.trained_in"] = str(record["trained_in"])
    return tags | run_tags()


def run_name(record: dict[str, Any]) -> str:
    """A name people can tell trials by: what was trained on what, and the start of the id."""
    settings = record.get("settings")
    if not settings:
        return str(record["trial"])
    features = "+".join(settings["features"])
    if len(features) > 40:
        features = f"{len(settings['features'])} feature sets"
    fold = "" if settings["fold"] == OFFICIAL else f" fold {settings['fold']}"
    return f"{settings['encoder']} {features} seed {settings['seed']}{fold} ({str(record['trial'])[:6]})"


def times(record: dict[str, Any]) -> tuple[int, int]:
    """Start and end in milliseconds since 1970, from when the trial finished and how long it
    took."""
    finished = record.get("finished_at")
    moment = datetime.fromisoformat(str(finished)) if finished else datetime.now(UTC)
    end = int(moment.timestamp() * 1000)
    return end - int(1000 * float(record.get("seconds") or 0)), end


def text(value: Any) -> str:
    """A setting as MLflow shows it: lists joined by "+", null as none."""
    if isinstance(value, list | tuple):
        return "+".join(text(item) for item in value)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def last_line(failed: str) -> str:
    """The reason at the end of a traceback."""
    lines = [line.strip() for line in failed.splitlines() if line.strip()]
    return lines[-1] if lines else "unknown"


def best_of(record: dict[str, Any]) -> dict[str, tuple[float, int]]:
    """The `best_*` metrics of a complete trial as (value, epoch), with the digits a table of scores
    has.

    None of them for a trial without validation (train_val_mix).
    """
    best = record["best"]
    if not best:
        return {}
    pairs = [
        best["valence"],
        best["arousal"],
        {"ccc": best["score"]["value"], "epoch": best["score"]["epoch"]},
    ]
    return {
        name: (round(pair["ccc"], 5), int(pair["epoch"] or 0))
        for name, pair in zip(BEST, pairs, strict=True)
    }


def _metrics(record: dict[str, Any]) -> list[tuple[str, float, int, int]]:
    _, end = times(record)
    metrics: list[tuple[str, float, int, int]] = []
    after = 0.0
    for epoch in reversed(record.get("history", [])):
        time = end - int(1000 * after)
        metrics += [
            (key, epoch[key], time, epoch["epoch"])
            for key in PER_EPOCH
            if _is_number(epoch.get(key))
        ]
        after += float(epoch.get("seconds") or 0)
    metrics.reverse()
    metrics += [
        (name, value, end, epoch)
        for name, (value, epoch) in best_of(record).items()
        if math.isfinite(value)
    ]
    metrics += [(key, float(record[key]), end, 0) for key in ONCE if _is_number(record.get(key))]
    return metrics


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
