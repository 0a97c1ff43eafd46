"""transformers_audio: wav2vec 2.0, HuBERT, WavLM and kin from a folder of the user's: config.json,
model.safetensors.

Conventions: mono sound at 16 kHz. The convolutions at the bottom look at `field` samples every
`step` samples (400 and 320 in the published models), which is a window; its centre is the middle of
its samples. With `layer: convolutional`, a window's features depend on its own samples where the
convolutions use layer norm, on the chunk's volume where they use group norm; those of another layer
depend on all of the chunk it is heard in, by attention. Long sound comes in chunks (sound.py), so
such features are not to the last digit those of the whole; windows of the `context` on either side
are dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from va_search.errors import InputError, unknown_name
from va_search.extract.extractor import Settings, Windows
from va_search.extract.weights import Weights
from va_search.files import file_hash, read_json

RATE = 16_000
LEFT_OUT = (
    "auto_map",
    "attn_implementation",
    "experts_implementation",
    "quantization_config",
    "dtype",
    "torch_dtype",
    "transformers_weights",
    "model_type",
    "architectures",
)
"""Entries of config.json that transformers is not given."""
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
KINDS = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")
"""Values of model_type in config.json that have these convolutions and one row a window in every
layer."""


class TransformersAudioSettings(Settings):
    """The checkpoint; which layer: 0 goes into the first transformer layer, 1 comes out of it, -1
    out of the last; a list is averaged; "convolutional" is what the convolutions put out.
    `normalise`: sound to mean 0 and variance 1 first; unset, as preprocessor_config.json beside the
    checkpoint says, and yes without one. `context` in seconds."""

    weights: Weights
    layer: int | list[int] | Literal["convolutional"] = -1
    normalise: bool | None = None
    context: Annotated[float, Field(ge=0, le=60)] = 4.0

    def beside(self) -> dict[str, str]:
        """Of config.json and preprocessor_config.json."""
        hashes = {}
        for name in (CONFIG, PREPROCESSOR):
            path = self.weights.path.with_name(name)
            hashes[name] = ""
            if path.is_file():
                hashes[name] = file_hash(path)
        return hashes

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: Weights) -> Weights:
        if weights.path.name != "model.safetensors":
            raise ValueError(
                f"{weights.path}: expected a file named model.safetensors with its config.json "
                "beside it, as save_pretrained writes them"
            )
        return weights

    @field_validator("layer")
    @classmethod
    def _check_layer(cls, layer: int | list[int] | str) -> int | list[int] | str:
        if layer == []:
            raise ValueError("layer []: name at least one")
        return layer


class TransformersAudio:
    """An AudioExtractor. Building reads config.json; InputError when it is another kind of model or
    lacks the layer."""

    Settings = TransformersAudioSettings
    kind: Literal["audio"] = "audio"
    rate = RATE

    def __init__(self, settings: TransformersAudioSettings) -> None:
        self.settings = settings
        self.folder = settings.weights.path.parent
        self._config = _read_config(self.folder / CONFIG)
        # Each convolution widens the field by its kernel, in steps of the layers below it.
        self.step = self.field = 1
        for stride, kernel in zip(
            self._config["conv_stride"], self._config["conv_kernel"], strict=True
        ):
            self.field += (kernel - 1) * self.step
            self.step *= stride
        self.context = max(settings.context, self.field / RATE)
        self._layers = self._chosen_layers()
        self._normalise = _normalise(settings, self.folder)
        self._model: Any = None
        self._device = "cpu"

    @property
    def columns(self) -> tuple[str, ...]:
        """hidden_size names, or as many as the last convolution has channels."""
        dim = self._config["hidden_size"] if self._layers else self._config["conv_dim"][-1]
        return tuple(f"hidden_{number}" for number in range(dim))

    def prepare(self, device: str = "cpu") -> None:
        """Load the checkpoint on "cpu" or "cuda"; InputError when tensors are missing or of another
        shape."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers import CONFIG_MAPPING, MODEL_MAPPING
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            document = read_json(self.folder / CONFIG)
            config = CONFIG_MAPPING[document["model_type"]](**_numbers(document))
            # Transformers would look for more files in a folder: it is given these two, opened
            # here.
            model, loaded = MODEL_MAPPING[type(config)].from_pretrained(
                None,
                config=config,
                state_dict=load_file(self.settings.weights.path),
                dtype="float32",
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise InputError(
                f"{self.folder}: transformers can't load this checkpoint: {error}"
            ) from error
        missing = sorted(set(loaded["missing_keys"]) - {"masked_spec_embed"})  # for training only
        if missing:
            raise InputError(
                f"{self.settings.weights.path}: {len(missing)} tensors are missing, among them "
                f"{', '.join(missing[:3])}; is this the checkpoint of its config.json?"
            )
        self._model, self._device = model.eval().to(device), device

    def windows(self, samples: NDArray[np.float32]) -> Windows:
        """(windows, dim) of (samples,) at 16 kHz; none for less than `field` samples."""
        import torch

        count = max(0, (len(samples) - self.field) // self.step + 1)
        centres = (np.arange(count) * self.step + self.field / 2) / RATE
        if count == 0:
            return Windows(np.zeros((0, len(self.columns)), np.float32), centres)
        if self._normalise:  # as transformers' feature extractor does, over all it is given
            deviation = np.sqrt(samples.var(dtype=np.float64) + 1e-7)
            samples = (samples - samples.mean(dtype=np.float64)) / deviation
        with torch.inference_mode():
            sound = torch.from_numpy(samples.astype(np.float32))[None].to(self._device)
            values = self._features(sound)[0].float().cpu().numpy()  # (windows, dim)
        return Windows(values, centres)

    def _features(self, sound: Any) -> Any:
        """(1, windows, dim) of (1, samples)."""
        if not self._layers:
            return self._model.feature_extractor(sound).transpose(1, 2)
        top = self._config["num_hidden_layers"]
        if self._layers == [top]:  # without keeping all the others in memory
            return self._model(sound).last_hidden_state
        states = self._model(sound, output_hidden_states=True)
        total: Any = 0
        for layer in self._layers:
            total = total + (
                states.last_hidden_state if layer == top else states.hidden_states[layer]
            )
        return total / len(self._layers)

    def _chosen_layers(self) -> list[int]:
        """The layers to average, from 0; none for the convolutions."""
        layers, top = self.settings.layer, self._config["num_hidden_layers"]
        if layers == "convolutional":
            return []
        if isinstance(layers, int):
            layers = [layers]
        for layer in layers:
            if not -top - 1 <= int(layer) <= top:
                raise InputError(
                    f"{self.folder}: layer {layer} is not there; it has layers 0 to {top}, counted "
                    f"from the end -1 to {-top - 1}"
                )
        return [int(layer) % (top + 1) for layer in layers]


def _read_config(path: Path) -> dict[str, Any]:
    """The sizes in config.json that the extractor needs; InputError for another kind of model."""
    config = read_json(path)
    kind = None
    if isinstance(config, dict):
        kind = config.get("model_type")
    if kind not in KINDS:
        raise InputError(f"{path}: " + unknown_name("model_type", kind, KINDS))
    # Sizes that a config leaves out are those of the models that were published first.
    published = {
        "conv_dim": [512] * 7,
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "hidden_size": 768,
        "num_hidden_layers": 12,
    }
    return published | {name: config[name] for name in published if name in config}


def _numbers(document: dict[str, Any]) -> dict[str, Any]:
    """The network's own entries of config.json, without those that would have transformers fetch,
    run or open something else."""
    return {
        key: value
        for key, value in document.items()
        if not key.startswith("_") and key not in LEFT_OUT
    }


def _normalise(settings: TransformersAudioSettings, folder: Path) -> bool:
    if settings.normalise is not None:
        return settings.normalise
    path = folder / PREPROCESSOR
    return not path.is_file() or bool(read_json(path).get("do_normalize", True))
