"""Weights files named in a recipe: the user's own, checked by SHA-256, never downloaded, never
pickles.

Conventions: a path is relative to the recipe's folder. A digest is 64 hex digits. A checkpoint of
transformers is named by its file, such as wav2vec2/model.safetensors; its config.json lies beside
it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from va_search.files import file_hash

PICKLES = {
    ".pt": "torch.onnx.export for an ONNX file, or safetensors.torch.save_file for a transformers checkpoint",
    ".pth": "torch.onnx.export",
    ".ckpt": "torch.onnx.export of the model inside",
    ".bin": "model.save_pretrained(folder) of transformers, which writes model.safetensors",
    ".pkl": "torch.onnx.export, or skl2onnx for scikit-learn",
}
"""Files that can run code when opened, and the call that makes one of a safe kind out of each."""
SAFE = (".onnx", ".safetensors")
DIGEST = re.compile(r"[0-9a-f]{64}")


class Weights(BaseModel):
    """A weights file and the SHA-256 of its content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    sha256: str

    @field_validator("path")
    @classmethod
    def _beside_the_recipe(cls, path: Path, info: ValidationInfo) -> Path:
        folder = (info.context or {}).get("folder")
        return folder / path if folder is not None else path

    @field_validator("path")
    @classmethod
    def _safe(cls, path: Path) -> Path:
        suffix = path.suffix.lower()
        if suffix in PICKLES:
            raise ValueError(
                f"{path}: a {suffix} file may run code when it is opened, so it is not; convert it "
                f"with {PICKLES[suffix]} (docs/features.md)"
            )
        if suffix not in SAFE:
            raise ValueError(f"{path}: expected a file that ends in {' or '.join(SAFE)}")
        return path

    @field_validator("sha256")
    @classmethod
    def _digest(cls, text: str) -> str:
        if not DIGEST.fullmatch(text.lower()):
            raise ValueError(
                f"sha256 {text!r}: expected 64 hex digits, as `sha256sum FILE` prints them"
            )
        return text.lower()


def weights_in(settings: Any) -> list[Weights]:
    """All the weights that settings name, nested ones too."""
    if isinstance(settings, Weights):
        return [settings]
    values: Iterable[Any] = ()
    if isinstance(settings, BaseModel):
        values = [value for _, value in settings]
    elif isinstance(settings, list | tuple):
        values = settings
    weights: list[Weights] = []
    for value in values:
        weights += weights_in(value)
    return weights


def weights_problem(weights: Weights) -> str | None:
    """The problem of a file that is missing or has other content; None when it is the one that was
    meant. Reads it whole."""
    path = weights.path
    if not path.is_file():
        return f"{path}: no such weights file; nothing is downloaded, put it there"
    digest = file_hash(path)
    if digest != weights.sha256:
        return f"{path}: SHA-256 {digest}, expected {weights.sha256}; another file, or cut short"
    return None
