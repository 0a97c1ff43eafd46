"""Weights of a trial's best epochs as safetensors files, and models rebuilt from them.

    <folder>/valence.safetensors, arousal.safetensors

Conventions: each file stands alone: beside the model's tensors (`model.*`) it holds the training set's statistics
(`normalisation.shift`, `normalisation.scale`) when the trial normalises by them, and in its metadata one JSON document
with the settings, feature sets and label range. No pickle is read or written.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from va_search.data.normalise import Normalisation, normalisation
from va_search.data.store import FeatureSet, Fold, Recording, Store
from va_search.errors import InputError
from va_search.files import whole_file
from va_search.metrics import DIMENSIONS
from va_search.models.estimator import Estimator
from va_search.training.batches import Gather, Steps, in_order
from va_search.training.predict import build_model, predict
from va_search.training.settings import TrialSettings

KEY = "va-search"
FORMAT = 1
SHIFT, SCALE = "normalisation.shift", "normalisation.scale"


@dataclass(frozen=True)
class TrainedModel:
    """A model read back with all it takes to predict. Both dimensions are predicted; the weights are of the epoch
    that was best for `dimension`."""

    dimension: str
    settings: TrialSettings
    feature_sets: list[FeatureSet]
    label_range: tuple[float, float]
    model: Estimator
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]] | None

    def predict(self, store: Store, recordings: tuple[Recording, ...], *, device: str = "cpu") -> NDArray[np.float32]:
        """(frames, 2) for all frames of these recordings of any store with the same feature sets, on the label range
        the model was trained with. InputError when a feature set is missing or has other columns."""
        self._check(store)
        names = [one.name for one in in_order(self.feature_sets)]
        statistics = self._statistics(store, names, recordings)
        where = torch.device(device)
        settings = self.settings
        steps = Steps.of(store, recordings, settings.frame_step, statistics.group)
        gather = Gather(
            store, self.feature_sets, statistics, frame_step=settings.frame_step, clip=settings.clip, device=where
        )
        return predict(self.model.to(where), settings, gather, steps, self.label_range)

    def _statistics(self, store: Store, names: list[str], recordings: tuple[Recording, ...]) -> Normalisation:
        if self.statistics is not None:
            return Normalisation.same_for_all(*self.statistics, recordings)
        everyone = Fold("official", (), (), recordings)
        settings = self.settings
        return normalisation(store, names, everyone, normalise=settings.normalise, normalise_by=settings.normalise_by)

    def _check(self, store: Store) -> None:
        problems = []
        for one in self.feature_sets:
            found = store.feature_sets.get(one.name)
            if found is None:
                known = ", ".join(sorted(store.feature_sets))
                problems.append(
                    f"{store.path}: feature set {one.name!r} is missing; the model needs it (found: {known})"
                )
            elif found.dim != one.dim:
                problems.append(f"{store.path}: feature set {one.name!r} has {found.dim} columns, expected {one.dim}")
        if problems:
            raise InputError(*problems)


def save_model(
    path: Path,
    weights: dict[str, Tensor],
    *,
    settings: TrialSettings,
    store: Store,
    statistics: Normalisation,
    about: dict[str, Any],
) -> None:
    """Write one file, whole. `about` (dimension, epoch, ccc, …) goes into the metadata."""
    tensors = {f"model.{name}": tensor.contiguous() for name, tensor in weights.items()}
    if settings.normalise == "train":
        tensors |= {SHIFT: torch.from_numpy(statistics.shift[0]), SCALE: torch.from_numpy(statistics.scale[0])}
    document = {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "feature_sets": [asdict(store.feature_sets[name]) for name in settings.features],
        "label_range": list(store.label_range),
        **about,
    }
    with whole_file(path) as beside:
        save_file(tensors, str(beside), metadata={KEY: json.dumps(document, sort_keys=True)})


def load_model(folder: Path, dimension: str) -> TrainedModel:
    """The model of the best epoch for `dimension` ("valence" or "arousal"), in evaluation mode on the CPU.

    InputError when the file is missing, cut short, or not one of ours.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension must be one of {DIMENSIONS}, but got {dimension!r}")
    path = folder / f"{dimension}.safetensors"
    document, tensors = _read(path)
    try:
        settings = TrialSettings(**document["settings"])
        feature_sets = [FeatureSet(**{**one, "columns": tuple(one["columns"])}) for one in document["feature_sets"]]
        model = build_model(settings, feature_sets)
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        low, high = document["label_range"]
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        raise InputError(f"{path}: not weights this version can read ({error})") from error
    statistics = (tensors[SHIFT].numpy(), tensors[SCALE].numpy()) if SHIFT in tensors else None
    return TrainedModel(dimension, settings, feature_sets, (low, high), model.eval(), statistics)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the trial kept no weights, or the folder is wrong")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    if text is None or json.loads(text).get("format") != FORMAT:
        raise InputError(f"{path}: weights of another program or version, expected {KEY} format {FORMAT}")
    document: dict[str, Any] = json.loads(text)
    return document, tensors
