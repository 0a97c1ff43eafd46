"""The paper's four searches, fitted to a store and to a machine.

search_spaces/paper.yaml (Tables 1-3), paper_ablation.yaml (Table 5), paper_folds.yaml (Table 4) and
paper_mix.yaml (4.7) are taken as they stand where the store has the paper's feature sets and size
is "paper". Otherwise what must differ is replaced, and each replacement is told in a remark that
heads the space's file:

- size "small" (a machine without a GPU): small layers, fewer epochs and trials, learning rates in proportion, about
  five model steps a second.
- other feature sets: subsets of the store's own; for the ablation each set alone, all but each one, and all; every
  feature normalised per subject, since only the paper's extractors give values that compare between people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from va_search.data.store import Store
from va_search.document import read_yaml
from va_search.files import shipped, whole_file

SPACES = ("paper", "paper_ablation", "paper_folds", "paper_mix")
"""Names of the searches, and of their files in search_spaces/."""

STEPS_PER_SECOND = 5.0
FASTER = 20
"""How much higher learning rates are for the small models."""

SMALL: dict[str, Any] = {
    "width": 64,
    "layers": 1,
    "attention_heads": 4,
    "feed_forward": 128,
    "hidden_size": 64,
    "head_sizes": [64],
    "epochs": 15,
    "schedule_epochs": 10,
}
SMALL_BUDGET = {"paper": 32}
SMALL_SEEDS = {"paper": [0, 1], "paper_folds": [0, 1], "paper_mix": [0]}
SEGMENT_SECONDS = {"paper": 12.0, "own": 30.0}
"""Of the small models' segments. Physiological and other slow signals need more context than
faces."""


@dataclass
class Fitted:
    """One search: the space's document, and what was replaced in it, in words."""

    name: str
    document: dict[str, Any]
    remarks: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """The space as a file to read, change and search again; its path."""
        path = folder / f"{self.name}.yaml"
        lines = [
            f"# search_spaces/{self.name}.yaml fitted to this store and machine.",
            *map("# {}".format, self.remarks),
        ]
        text = yaml.safe_dump(self.document, sort_keys=False, default_flow_style=None, width=100)
        with whole_file(path) as beside:
            beside.write_text("\n".join([*lines, text]), encoding="utf-8")
        return path


def fitted_spaces(store: Store, size: Literal["small", "paper"]) -> list[Fitted]:
    """The four searches for `store`, in the order of `SPACES`; no Train-Val-Mix where there is
    nothing to test on."""
    names = SPACES if store.split("test") else SPACES[:-1]
    return [_fitted(name, store, size) for name in names]


def _fitted(name: str, store: Store, size: Literal["small", "paper"]) -> Fitted:
    document, _ = read_yaml(shipped(f"search_spaces/{name}.yaml"))
    found = Fitted(name, document)
    wanted = {
        feature
        for features in _combinations(document["settings"]["features"])
        for feature in features
    }
    own = not wanted <= set(store.feature_sets)
    if size == "small":
        _make_small(found, store, own=own)
    if own:
        _use_own_features(found, store)
    return found


def _combinations(features: Any) -> list[list[str]]:
    choice = features["choice"] if isinstance(features, dict) else [features]
    return [list(one) for one in choice]


def _make_small(found: Fitted, store: Store, *, own: bool) -> None:
    document, settings = found.document, found.document["settings"]
    for setting, value in SMALL.items():
        if setting in settings:
            _put(settings, setting, value)
    rates = map(float, _values(settings["learning_rate"]))  # YAML reads 5e-5 as a text
    faster = [float(f"{rate * FASTER:.3g}") for rate in rates]
    _put(settings, "learning_rate", {"choice": faster} if len(faster) > 1 else faster[0])
    rate = sorted(recording.frames_per_second for recording in store.recordings)[
        len(store.recordings) // 2
    ]
    step = max(1, round(rate / STEPS_PER_SECOND))
    settings["frame_step"] = step
    settings["segment_length"] = max(
        10, round(rate * SEGMENT_SECONDS["own" if own else "paper"] / step)
    )
    if found.name in SMALL_SEEDS:
        document["seeds"] = SMALL_SEEDS[found.name]
    if found.name in SMALL_BUDGET:
        document["budget"] = {"trials": SMALL_BUDGET[found.name]}
    found.remarks.append(
        f"Small models for a machine without a GPU: sizes, epochs and trials reduced, learning rates times {FASTER}, "
        f"{step} frames a step."
    )


def _use_own_features(found: Fitted, store: Store) -> None:
    settings = found.document["settings"]
    names = sorted(store.feature_sets)
    features: Any = names
    if found.name == "paper":
        features = {"subset": "all", "min": min(2, len(names)), "max": len(names)}
    elif found.name == "paper_ablation":
        features = {"choice": ablation(names)}
    settings["features"] = features
    if found.name == "paper_mix":
        settings["encoder"] = {"choice": ["lstm", "gru", "transformer", "transformer_lstm"]}
        for setting in ("layers", "attention_heads", "feed_forward"):
            _only_for(settings, setting, ["transformer", "transformer_lstm"])
        settings["hidden_size"] = {
            "value": _values(settings.get("hidden_size", SMALL["hidden_size"]))[0],
            "when": {"encoder": ["lstm", "gru", "transformer_lstm"]},
        }
    settings["normalise"] = "subject"
    settings["clip"] = 5
    found.remarks.append(
        f"The store has not the paper's feature sets: its own {len(names)} stand here, normalised per subject."
    )


def ablation(names: list[str]) -> list[list[str]]:
    """Each feature set alone, all but each one, and all: 2 n + 1 combinations, fewer where some are
    the same."""
    combinations = [[name] for name in names] + [
        [other for other in names if other != name] for name in names
    ]
    found: list[list[str]] = []
    for one in [*combinations, names]:
        if one and one not in found:
            found.append(one)
    return found


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Replace a setting's value, keeping its condition."""
    declared = settings.get(name)
    if isinstance(declared, dict) and "when" in declared:
        inside = value if isinstance(value, dict) else {"value": value}
        settings[name] = {**inside, "when": declared["when"]}
    else:
        settings[name] = value


def _only_for(settings: dict[str, Any], name: str, encoders: list[str]) -> None:
    if name in settings:
        settings[name] = {"value": _values(settings[name])[0], "when": {"encoder": encoders}}


def _values(declared: Any) -> list[Any]:
    if isinstance(declared, dict):
        values: list[Any] = declared.get("choice") or [declared.get("value")]
        return values
    return [declared]
