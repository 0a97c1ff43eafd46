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
from itertools import chain
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
        head = f"search_spaces/{self.name}.yaml fitted to this store and machine."
        lines = [f"# {remark}" for remark in (head, *self.remarks)]
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
    fitted = Fitted(name, document)
    named = set(chain.from_iterable(_values(document["settings"]["features"])))
    own = not named <= set(store.feature_sets)
    if size == "small":
        _make_small(fitted, store, SEGMENT_SECONDS["own" if own else "paper"])
    if own:
        _use_own_features(fitted, store)
    return fitted


def _make_small(fitted: Fitted, store: Store, segment_seconds: float) -> None:
    document, settings = fitted.document, fitted.document["settings"]
    rates = [float(rate) for rate in _values(settings["learning_rate"])]  # 5e-5 is read as a text
    faster = [float(f"{rate * FASTER:.3g}") for rate in rates]
    small = SMALL | {"learning_rate": {"choice": faster} if len(faster) > 1 else faster[0]}
    for setting in small.keys() & settings.keys():
        _put(settings, setting, small[setting])

    # Steps and segments last alike at any frame rate.
    per_second = sorted(recording.frames_per_second for recording in store.recordings)
    rate = per_second[len(per_second) // 2]
    step = max(1, round(rate / STEPS_PER_SECOND))
    settings["frame_step"] = step
    settings["segment_length"] = max(10, round(rate * segment_seconds / step))
    if fitted.name in SMALL_SEEDS:
        document["seeds"] = SMALL_SEEDS[fitted.name]
    if fitted.name in SMALL_BUDGET:
        document["budget"] = {"trials": SMALL_BUDGET[fitted.name]}
    fitted.remarks.append(
        "Small models for a machine without a GPU: sizes, epochs and trials reduced, learning "
        f"rates times {FASTER}, {step} frames a step."
    )


def _use_own_features(fitted: Fitted, store: Store) -> None:
    settings = fitted.document["settings"]
    names = sorted(store.feature_sets)
    settings["features"] = names
    if fitted.name == "paper":
        settings["features"] = {"subset": "all", "min": min(2, len(names)), "max": len(names)}
    elif fitted.name == "paper_ablation":
        settings["features"] = {"choice": ablation(names)}
    elif fitted.name == "paper_mix":
        # A GRU needs a hidden size, too.
        settings["encoder"] = {"choice": ["lstm", "gru", "transformer", "transformer_lstm"]}
        settings["hidden_size"]["when"] = {"encoder": ["lstm", "gru", "transformer_lstm"]}
    settings["normalise"] = "subject"
    settings["clip"] = 5
    fitted.remarks.append(
        f"The store has not the paper's feature sets: its own {len(names)} stand here, normalised "
        "per subject."
    )


def ablation(names: list[str]) -> list[list[str]]:
    """Each feature set alone, all but each one, and all: 2 n + 1 combinations, fewer where some are
    the same."""
    combinations = [[name] for name in names]
    for left_out in names:
        combinations.append([name for name in names if name != left_out])
    combinations.append(names)
    different: list[list[str]] = []
    for combination in combinations:
        if combination and combination not in different:
            different.append(combination)
    return different


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    """Replace a setting's value, keeping its condition."""
    declared = settings[name]
    settings[name] = value
    if isinstance(declared, dict) and "when" in declared:
        form = value if isinstance(value, dict) else {"value": value}
        settings[name] = {**form, "when": declared["when"]}


def _values(declared: Any) -> list[Any]:
    """The values that a declaration allows: those of a choice, or its one."""
    if not isinstance(declared, dict):
        return [declared]
    return list(declared.get("choice") or [declared.get("value")])
