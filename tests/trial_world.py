"""Trials for tests, without a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.files import read_json, write_json
from va_search.trial import Best, Epoch, Failure, Trial, TrialState, known_settings
from va_search.trial_settings import TrialSettings


def make_trial(
    study: str = "s",
    id: str = "t1",
    *,
    settings: TrialSettings | Mapping[str, Any] | None = None,
    ccc: float | tuple[float, float] | None = None,
    epoch: int | None = 1,
    on: Store | None = None,
    history: Sequence[Epoch] = (),
    failed: str | None = None,
    **fields: Any,
) -> Trial:
    """A complete trial, or one that `failed` with this traceback.

    `settings` may be such as no version knows; `ccc`: its best valence and arousal, or both at once,
    at `epoch`; None: not validated. `on`: the store it was trained on. `fields`: any others."""
    noted = settings.model_dump(mode="json") if isinstance(settings, TrialSettings) else settings
    if on is not None:
        names, fold = (noted or {}).get("features", []), (noted or {}).get("fold", "official")
        fields = {
            "data_hash": on.data_hash(names, fold),
            "store": on.name,
            "store_path": str(on.path.resolve()),
            **fields,
        }
    return Trial(
        study=study,
        id=id,
        state=TrialState.COMPLETE if failed is None else TrialState.FAILED,
        settings=known_settings(noted),
        settings_json=noted,
        history_json=[epoch.to_json() for epoch in history],
        best={} if ccc is None else best_of(ccc, epoch),
        failure=None if failed is None else Failure(failed),
        **fields,
    )


def best_of(ccc: float | tuple[float, float], epoch: int | None = 1) -> dict[str, Best]:
    """Best valence and arousal, and their mean, all at one epoch."""
    valence, arousal = ccc if isinstance(ccc, tuple) else (ccc, ccc)
    return {
        "valence": Best(valence, epoch),
        "arousal": Best(arousal, epoch),
        "score": Best((valence + arousal) / 2, epoch),
    }


def forget_seal(record: Path) -> None:
    """Make a trial.json or an ensemble's file one from before there were seals: a trial is then
    sealed as its files are at the next use."""
    document = read_json(record)
    del document["seal"]
    write_json(record, document)
