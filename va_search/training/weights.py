"""Weights of a trial's best epochs as safetensors files, and models rebuilt from them.

    <folder>/valence.safetensors, arousal.safetensors

Conventions: each file stands alone: beside the model's tensors (`model.*`) it holds the training
set's statistics (`normalisation.shift`, `normalisation.scale`) when the trial normalises by them,
and in its metadata one JSON document with the settings, feature sets and label range. No pickle is
read or written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from va_search.data.normalise import Normalisation, normalisation
from va_search.data.store import FeatureSet, Fold, Recording, Store
from va_search.errors import InputError
from va_search.files import whole_file
from va_search.metrics import DIMENSIONS
from va_search.models.estimator import Estimator
from va_search.models.menu import NORMALISERS
from va_search.training.batches import Gather, Steps, in_order
from va_search.training.predict import build_model, predict
from va_search.training.settings import TrialSettings

KEY = "va-search"
FORMAT = 1
SHIFT, SCALE = "normalisation.shift", "normalisation.scale"


@dataclass(frozen=True)
class TrainedModel:
    """A model read back with all it takes to predict. Both dimensions are predicted; the weights
    are of the epoch that was best for `dimension`."""

    dimension: str
    settings: TrialSettings
    feature_sets: list[FeatureSet]
    label_range: tuple[float, float]
    model: Estimator
    statistics: tuple[NDArray[np.float32], NDArray[np.float32]] | None

    def predict(
        self, store: Store, recordings: tuple[Recording, ...], *, device: str = "cpu"
    ) -> NDArray[np.float32]:
        """(frames, 2) for all frames of these recordings of any store with the same feature sets,
        on the label range the model was trained with. InputError when a feature set is missing or
        has other columns."""
        problems = unfit(store, self.feature_sets)
        if problems:
            raise InputError(*problems)
        names = [one.name for one in in_order(self.feature_sets)]
        statistics = self._statistics(store, names, recordings)
        where = torch.device(device)
        settings = self.settings
        steps = Steps.of(store, recordings, settings.frame_step, statistics.group)
        gather = Gather(
            store,
            self.feature_sets,
            statistics,
            frame_step=settings.frame_step,
            clip=settings.clip,
            device=where,
        )
        return predict(self.model.to(where), settings, gather, steps, self.label_range)

    def _statistics(
        self, store: Store, names: list[str], recordings: tuple[Recording, ...]
    ) -> Normalisation:
        if self.statistics is not None:
            return Normalisation.same_for_all(*self.statistics, recordings)
        everyone = Fold("official", (), (), recordings)
        settings = self.settings
        return normalisation(
            store,
            names,
            everyone,
            grouped=NORMALISERS[settings.normalise].load(),
            **settings.arguments(NORMALISERS),
        )


@dataclass(frozen=True)
class Header:
    """What a weights file says of itself, its tensors not yet read."""

    settings: TrialSettings
    feature_sets: list[FeatureSet]
    label_range: tuple[float, float]


def unfit(store: Store, feature_sets: Iterable[FeatureSet]) -> list[str]:
    """Why models trained on these feature sets can't predict this store: a set that is missing, of
    another modality, or of other columns. Names of columns are compared where both sides have
    them."""
    problems = []
    for one in feature_sets:
        where, found = f"{store.path}: feature set {one.name!r}", store.feature_sets.get(one.name)
        if found is None:
            known = ", ".join(sorted(store.feature_sets))
            problems.append(f"{where} is missing; the model needs it (found: {known})")
            continue
        if found.modality != one.modality:
            problems.append(f"{where} is of modality {found.modality!r}, expected {one.modality!r}")
        if found.dim != one.dim:
            problems.append(f"{where} has {found.dim} columns, expected {one.dim}")
        elif found.columns and one.columns and found.columns != one.columns:
            at = next(
                i
                for i, pair in enumerate(zip(found.columns, one.columns, strict=True))
                if pair[0] != pair[1]
            )
            problems.append(
                f"{where}: column {at} is {found.columns[at]!r}, expected {one.columns[at]!r}"
            )
    return problems


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
    if NORMALISERS[settings.normalise].of_training:
        tensors |= {
            SHIFT: torch.from_numpy(statistics.shift[0]),
            SCALE: torch.from_numpy(statistics.scale[0]),
        }
    document = {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "feature_sets": [asdict(store.feature_sets[name]) for name in settings.features],
        "label_range": list(store.label_range),
        **about,
    }
    content = save(tensors, metadata={KEY: json.dumps(document, sort_keys=True)})
    with whole_file(path) as beside:
        beside.write_bytes(content)


def read_header(path: Path) -> Header:
    """What the weights file at `path` is of; InputError when it is missing, cut short, or not one
    of ours."""
    return _header(path, _read(path, tensors=False)[0])


def load_model(folder: Path, dimension: str) -> TrainedModel:
    """The model of the best epoch for `dimension` ("valence" or "arousal"), in evaluation mode on
    the CPU.

    InputError when the file is missing, cut short, or not one of ours.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension must be one of {DIMENSIONS}, but got {dimension!r}")
    path = folder / f"{dimension}.safetensors"
    document, tensors = _read(path)
    header = _header(path, document)
    try:
        model = build_model(header.settings, header.feature_sets)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not weights this version can read ({error})") from error
    statistics = (tensors[SHIFT].numpy(), tensors[SCALE].numpy()) if SHIFT in tensors else None
    return TrainedModel(
        dimension,
        header.settings,
        header.feature_sets,
        header.label_range,
        model.eval(),
        statistics,
    )


def _header(path: Path, document: dict[str, Any]) -> Header:
    try:
        low, high = document["label_range"]
        sets = [
            FeatureSet(**{**one, "columns": tuple(one["columns"])})
            for one in document["feature_sets"]
        ]
        return Header(TrialSettings(**document["settings"]), sets, (low, high))
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not weights this version can read ({error})") from error


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the trial kept no weights, or the folder is wrong")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            found = {name: file.get_tensor(name) for name in (file.keys() if tensors else ())}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    if text is None or json.loads(text).get("format") != FORMAT:
        raise InputError(
            f"{path}: weights of another program or version, expected {KEY} format {FORMAT}"
        )
    document: dict[str, Any] = json.loads(text)
    return document, found
