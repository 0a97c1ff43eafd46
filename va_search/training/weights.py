"""Weights of the epochs that a trial keeps as safetensors files, and models rebuilt from them.

    <folder>/<target>.safetensors, such as valence.safetensors

Conventions: each file stands alone: beside the model's tensors (`model.*`, or `epoch.<n>.*` of each
epoch whose predictions are averaged) it holds the training
set's statistics (`normalisation.shift`, `normalisation.scale`) when the trial normalises by them,
and in its metadata one JSON document with the settings, feature sets and targets (`label_range`
alone for valence and arousal on one range), and the source of the user's own classes that the model
is made of. No pickle is read or written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from va_search.data.normalise import Normalisation, columns_of_view
from va_search.data.store import FeatureSet, Fold, Recording, Store
from va_search.errors import InputError
from va_search.files import whole_file
from va_search.models import sources
from va_search.models.estimator import Estimator
from va_search.models.menu import NORMALISERS
from va_search.targets import Target, names, targets_from_json, targets_to_json
from va_search.training.batches import Steps
from va_search.training.checkpoint import read_tensors
from va_search.training.epochs import mean_of
from va_search.training.features import Gather, Statistics, in_order, normalised_views
from va_search.training.own_models import own_sources
from va_search.training.predict import build_model, predict
from va_search.trial_settings import TrialSettings

KEY = "va-search"
FORMAT = 1
MODEL, EPOCH = "model.", "epoch."
SHIFT, SCALE = "normalisation.shift", "normalisation.scale"


@dataclass(frozen=True)
class TrainedModel:
    """A model read back with all it takes to predict. All `targets` are predicted; the weights are
    of the epoch that was kept for the one named `dimension`. Of several `models`, one of each epoch
    kept, the predictions are averaged."""

    dimension: str
    settings: TrialSettings
    feature_sets: list[FeatureSet]
    targets: tuple[Target, ...]
    models: tuple[Estimator, ...]
    statistics: Statistics | None

    def predict(
        self, store: Store, recordings: tuple[Recording, ...], *, device: str = "cpu"
    ) -> NDArray[np.float32]:
        """(frames, targets) for all frames of these recordings of any store with the same feature
        sets, on the ranges the model was trained with. InputError when a feature set is missing or
        has other columns."""
        problems = unfit(store, self.feature_sets)
        if problems:
            raise InputError(*problems)
        settings = self.settings
        fold = Fold("official", (), (), recordings)
        statistics = normalised_views(
            settings, store, in_order(self.feature_sets), fold, of_training=self.statistics
        )
        steps = Steps.of(
            store, recordings, settings.frame_step, statistics.group, settings.label_delay
        )
        gather = Gather(
            store,
            self.feature_sets,
            statistics,
            frame_step=settings.frame_step,
            clip=settings.clip,
            missing=settings.stand_in,
            device=torch.device(device),
        )
        return mean_of(
            predict(model.to(device), settings, gather, steps, self.targets)
            for model in self.models
        )


@dataclass(frozen=True)
class Header:
    """The metadata of a weights file."""

    settings: TrialSettings
    feature_sets: list[FeatureSet]
    targets: tuple[Target, ...]


def unfit(store: Store, feature_sets: Iterable[FeatureSet]) -> list[str]:
    """Reasons why models trained on these feature sets can't predict this store: a set that is
    missing, of another modality, or of other columns. Names of columns are compared where both
    sides have them."""
    problems: list[str] = []
    for expected in feature_sets:
        where = f"{store.path}: feature set {expected.name!r}"
        actual = store.feature_sets.get(expected.name)
        if actual is None:
            known = ", ".join(sorted(store.feature_sets))
            problems.append(f"{where} is missing; the model needs it (found: {known})")
            continue
        if actual.modality != expected.modality:
            problems.append(
                f"{where} is of modality {actual.modality!r}, expected {expected.modality!r}"
            )
        if actual.missing and not expected.missing:
            problems.append(
                f"{where} lacks values, and the model was trained where none was missing"
            )
        if actual.dim != expected.dim:
            problems.append(f"{where} has {actual.dim} columns, expected {expected.dim}")
        elif actual.columns and expected.columns:
            pairs = zip(actual.columns, expected.columns, strict=True)
            for column, (name, wanted) in enumerate(pairs):
                if name != wanted:
                    problems.append(f"{where}: column {column} is {name!r}, expected {wanted!r}")
                    break
    return problems


def save_model(
    path: Path,
    states: dict[int, dict[str, Tensor]],
    *,
    settings: TrialSettings,
    store: Store,
    statistics: Normalisation,
    about: dict[str, Any],
) -> None:
    """Write one file, whole, of the model's weights by epoch. `about` (dimension, epoch, ccc, …)
    goes into the metadata."""
    tensors: dict[str, Tensor] = {}
    for epoch, weights in states.items():
        prefix = MODEL if len(states) == 1 else f"{EPOCH}{epoch}."
        tensors |= {f"{prefix}{name}": tensor.contiguous() for name, tensor in weights.items()}
    # statistics of training recordings can't be measured where the model will be used
    feature_sets = in_order([store.feature_sets[name] for name in settings.features])
    dims = [feature_set.dim for feature_set in feature_sets]
    for number, view in enumerate(settings.views):
        if NORMALISERS[view].of_training:
            columns = columns_of_view(dims, len(settings.views), number)
            tensors[SHIFT] = torch.from_numpy(statistics.shift[0, columns])
            tensors[SCALE] = torch.from_numpy(statistics.scale[0, columns])
    document = {
        "format": FORMAT,
        "settings": settings.model_dump(mode="json"),
        "feature_sets": [store.feature_sets[name].to_json() for name in settings.features],
        **targets_to_json(store.targets),
        **about,
    }
    # the file stands alone: with the code of classes that are not the package's
    code = own_sources(settings)
    if code:
        document["code"] = code
    content = save(tensors, metadata={KEY: json.dumps(document, sort_keys=True)})
    with whole_file(path) as beside:
        beside.write_bytes(content)


def weights_file(folder: Path, target: str) -> Path:
    """Return the file that a trial's folder has for a target, where it keeps weights."""
    return folder / f"{target}.safetensors"


def read_header(path: Path) -> Header:
    """The metadata of the weights file at `path`; InputError when it is missing, cut short, or not
    one of ours."""
    return _header(path, _read(path, tensors=False)[0])


def load_model(folder: Path, dimension: str) -> TrainedModel:
    """The model of the epochs kept for the target `dimension`, in evaluation mode on the CPU.

    InputError when the file is missing, cut short, or not one of ours.
    """
    path = weights_file(folder, dimension)
    document, tensors = _read(path)
    header = _header(path, document)
    statistics = None
    if SHIFT in tensors:
        statistics = (tensors.pop(SHIFT).numpy(), tensors.pop(SCALE).numpy())
    models: list[Estimator] = []
    try:
        for state in _states(tensors):
            model = build_model(header.settings, header.feature_sets, names(header.targets))
            model.load_state_dict(state)
            models.append(model.eval())
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not weights this version can read ({error})") from error
    return TrainedModel(
        dimension,
        header.settings,
        header.feature_sets,
        header.targets,
        tuple(models),
        statistics,
    )


def _states(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each epoch in a file, by the model's own names, earlier epochs first."""
    states: dict[int, dict[str, Tensor]] = {}
    for label, tensor in tensors.items():
        epoch = 0
        name = label.removeprefix(MODEL)
        if label.startswith(EPOCH):
            number, _, name = label.removeprefix(EPOCH).partition(".")
            epoch = int(number)
        states.setdefault(epoch, {})[name] = tensor
    return [states[epoch] for epoch in sorted(states)]


def _header(path: Path, document: dict[str, Any]) -> Header:
    sources.bring(document.get("code", []))
    try:
        feature_sets = [FeatureSet.from_json(entry) for entry in document["feature_sets"]]
        settings = TrialSettings(**document["settings"])
        return Header(settings, feature_sets, targets_from_json(document))
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not weights this version can read ({error})") from error


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the trial kept no weights, or the folder is wrong")
    values: dict[str, Tensor] = {}
    try:
        if tensors:
            metadata, values = read_tensors(path)
        else:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
        document = json.loads(metadata.get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            f"{path}: weights of another program or version, expected {KEY} format {FORMAT}"
        )
    return document, values
