"""A training's checkpoint: all that its next epoch needs, in one safetensors file that appears
whole.

    <folder>/checkpoint.safetensors

Conventions: tensors are `model.*`, `optimiser.<parameter>.*`, `epoch.<n>.*` (the weights of an epoch
that is kept, once where it is the best of several targets) and `mean.sum` (train_val_mix). The metadata
hold one JSON document with everything else: what is being trained (settings, data, meaning of the
code), schedule, history, best, seconds, and a digest of it and of all tensors. Since everything
random comes from the seed and the epoch's number, no generator's state is among it. No pickle is
read or written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from va_search.errors import InputError
from va_search.files import whole_file
from va_search.trial import Best, Epoch

NAME = "checkpoint.safetensors"
KEY = "va-search checkpoint"
DIGEST = "va-search digest"
FORMAT = 1

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an epoch.

    `best` and `states` are those of `KeptEpochs`, `groups` and `moments` the optimiser's,
    `averaged` and `mean` those of `MeanOfEpochs`, `average_steps` those of `MovingAverage`,
    `seconds` the time all processes gave to the trial so far, and `resumed_at` the epochs after
    which one took over from another.
    """

    history: list[Epoch]
    best: dict[str, Best]
    states: dict[int, Tensors]
    model: Tensors
    groups: list[dict[str, Any]]
    moments: Tensors
    schedule: dict[str, Any]
    averaged: int
    mean: Tensors
    average_steps: int
    seconds: float
    resumed_at: list[int]

    def write(self, folder: Path, identity: dict[str, Any]) -> None:
        """Write it whole, in the place of the one before; `identity` says of which training it
        is."""
        document = {
            "format": FORMAT,
            **identity,
            "history": [epoch.to_json() for epoch in self.history],
            "best": {target: asdict(best) for target, best in self.best.items()},
            "groups": self.groups,
            "schedule": self.schedule,
            "averaged": self.averaged,
            "average_steps": self.average_steps,
            "seconds": self.seconds,
            "resumed_at": self.resumed_at,
        }
        tensors: Tensors = {}
        _put(tensors, "model", self.model)
        _put(tensors, "optimiser", self.moments)
        _put(tensors, "mean", self.mean)
        for epoch, state in self.states.items():
            _put(tensors, f"epoch.{epoch}", state)
        text = json.dumps(document, allow_nan=False)
        content = save(tensors, {KEY: text, DIGEST: _digest(text, tensors)})
        with whole_file(folder / NAME) as beside:
            beside.write_bytes(content)

    @classmethod
    def read(
        cls, folder: Path, identity: dict[str, Any], *, model: Tensors, optimiser: Optimizer
    ) -> Checkpoint | None:
        """The checkpoint in `folder`, its tensors of the sizes that this model and optimiser have;
        None: there is none.

        InputError when it is damaged or of another training.
        """
        path = folder / NAME
        if not path.is_file():
            return None
        document, tensors = _read(path)
        # a folder may hold the checkpoint of a training before its settings or data changed
        for name, value in {"format": FORMAT, **identity}.items():
            if document.get(name) != value:
                raise InputError(f"{path}: a checkpoint of another training ({name} differs)")
        try:
            return cls._checked(document, tensors, model, optimiser)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a whole checkpoint ({error!r})") from error

    @classmethod
    def _checked(
        cls, document: dict[str, Any], tensors: Tensors, model: Tensors, optimiser: Optimizer
    ) -> Checkpoint:
        best = {target: Best(**written) for target, written in document["best"].items()}
        epochs = {int(name.split(".")[1]) for name in tensors if name.startswith("epoch.")}
        if not epochs.issuperset(reached.epoch for reached in best.values()):
            raise ValueError("the weights of a best epoch are missing")
        states: dict[int, Tensors] = {}
        for epoch in sorted(epochs):
            states[epoch] = _like(model, _below(tensors, f"epoch.{epoch}"))
        mean, averaged = _below(tensors, "mean"), int(document["averaged"])
        if averaged and "sum" not in mean:
            raise ValueError("the sum of predictions is missing")
        return cls(
            history=[Epoch.from_json(epoch) for epoch in document["history"]],
            best=best,
            states=states,
            model=_like(model, _below(tensors, "model")),
            groups=[{**group, "betas": tuple(group["betas"])} for group in document["groups"]],
            moments=_fitting(optimiser, _below(tensors, "optimiser")),
            schedule=dict(document["schedule"]),
            averaged=averaged,
            mean=mean,
            average_steps=int(document.get("average_steps", 0)),
            seconds=float(document["seconds"]),
            resumed_at=list(document["resumed_at"]),
        )


def flat_state(optimiser: Optimizer) -> tuple[list[dict[str, Any]], Tensors]:
    """An optimiser's groups (plain values) and its moments, `<parameter>.<name>`."""
    state = optimiser.state_dict()
    moments: Tensors = {}
    for parameter, named in state["state"].items():
        _put(moments, str(parameter), named)
    return state["param_groups"], moments


def load_state(optimiser: Optimizer, groups: list[dict[str, Any]], moments: Tensors) -> None:
    """Put back what `flat_state` took apart."""
    state: dict[int, Tensors] = {}
    for label, moment in moments.items():
        parameter, _, name = label.partition(".")
        state.setdefault(int(parameter), {})[name] = moment
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    try:
        metadata, tensors = read_tensors(path)
        text = metadata.get(KEY, "{}")
        document = json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a whole checkpoint ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a whole checkpoint (no document in it)")
    # One from an earlier version has no digest.
    if DIGEST in metadata and metadata[DIGEST] != _digest(text, tensors):
        raise InputError(f"{path}: not a whole checkpoint (changed since it was written)")
    return document, tensors


def read_tensors(path: Path) -> tuple[dict[str, str], Tensors]:
    """The metadata and the tensors of a safetensors file, read into memory: a file that is cut
    short while it is mapped kills the process.

    SafetensorError, OSError or ValueError where it is none."""
    content = path.read_bytes()
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__") or {}, tensors


def _digest(text: str, tensors: Tensors) -> str:
    """SHA-256 of a document and of tensors: their names, types, shapes and values."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _put(tensors: Tensors, prefix: str, named: Mapping[str, Tensor]) -> None:
    """Add tensors as `<prefix>.<name>`, on the CPU."""
    for name, tensor in named.items():
        tensors[f"{prefix}.{name}"] = tensor.detach().cpu().contiguous()


def _below(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """The tensors that were put under `prefix`, by their own names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _like(model: Tensors, tensors: Tensors) -> Tensors:
    """The tensors, if they have names, shapes and types of the model's; else ValueError."""
    if _shapes(tensors) != _shapes(model):
        raise ValueError("other tensors than the model has")
    return tensors


def _shapes(tensors: Tensors) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _fitting(optimiser: Optimizer, moments: Tensors) -> Tensors:
    """Moments that each parameter has whole, of its shape, or not at all (never stepped)."""
    parameters = list(chain.from_iterable(group["params"] for group in optimiser.param_groups))
    for index in {int(name.partition(".")[0]) for name in moments}:
        for name in ("exp_avg", "exp_avg_sq"):
            if moments[f"{index}.{name}"].shape != parameters[index].shape:
                raise ValueError(f"the optimiser's {name} of parameter {index} has another shape")
        if moments[f"{index}.step"].numel() != 1:
            raise ValueError(f"the optimiser's step of parameter {index} is no number")
    return moments
