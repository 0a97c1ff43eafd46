"""The settings of one trial, with the paper's values as defaults, and the trial's id.

Importing this module is cheap (no torch): the search space and the command line validate with it.
Lengths are in frames at the store's frame rate unless said otherwise; learning rates are per
optimiser step."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from va_search.data.store import MIX
from va_search.files import digest

MEANING = 1
"""Version of what the training code computes: raised when the same settings would give other
predictions."""

CARRIED = ("lstm", "gru", "transformer_lstm")
"""Encoders that carry their hidden state from a recording's segment to its next."""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]


class TrialSettings(BaseModel):
    """One configuration with its seed and fold. Settings that the encoder or fusion does not use
    are reset to their defaults, so that trials which would compute the same thing have the same
    id."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    # data
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    normalise: Literal["none", "train", "recording", "subject"] = "train"
    normalise_by: Literal["mean_std", "median_mad"] = "mean_std"
    clip: Annotated[float, Field(gt=0)] | None = None  # after normalising, in units of the spread
    frame_step: Positive = (
        1  # frames averaged into one model step; predictions are interpolated back to every frame
    )
    segment_length: Positive = 150  # model steps per segment (4.2)
    stride: Positive | None = (
        None  # model steps; None: the segment length, always so for carried-state encoders (3.3.1)
    )

    # model
    fusion: Literal["early", "late"] = "early"
    encoder: Literal["lstm", "gru", "transformer", "transformer_lstm"] = "transformer"
    width: Positive = 1024  # affine dimension in front of the encoder (4.2)
    layers: Positive = 4  # transformer encoder layers
    attention_heads: Positive = 4
    feed_forward: Positive = 1024
    encoder_dropout: Share = 0.3
    hidden_size: Positive = 512  # lstm, gru and the LSTM behind a transformer
    recurrent_layers: Positive = 1
    heads: Literal["separate", "shared"] = (
        "separate"  # one regressor per dimension, or one for both
    )
    head_sizes: tuple[Positive, ...] = (512, 256)
    head_dropout: Share = 0.1

    # loss and optimiser
    loss_valence: Annotated[float, Field(ge=0)] = 1.0  # alpha of the paper's formula 10
    loss_arousal: Annotated[float, Field(ge=0)] = 1.0  # beta
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    clip_gradient: Annotated[float, Field(gt=0)] | None = 5.0
    batch_size: Positive = 16  # segments; for carried-state encoders recordings side by side
    epochs: Positive = 30
    patience: Positive | None = (
        None  # stop after so many epochs without a better valence or arousal
    )
    schedule: Literal[
        "constant",
        "step",
        "cosine",
        "exponential",
        "linear",
        "warmup_cosine",
        "one_cycle",
        "plateau",
    ] = "constant"
    schedule_epochs: Positive = (
        20  # step: epochs between drops; plateau: epochs without gain before a drop
    )
    schedule_factor: Annotated[float, Field(gt=0, lt=1)] = (
        0.1  # step, plateau, exponential (per epoch)
    )
    warmup: Share = 0.1  # warmup_cosine, one_cycle: share of all steps

    # execution that changes results
    precision: Literal["float32", "bf16"] = "float32"  # bf16 only where a GPU is
    compile: bool = False  # torch.compile, only where a GPU is

    seed: Annotated[int, Field(ge=0)] = 0
    fold: int | Literal["official", "train_val_mix"] = "official"
    averaged_epochs: tuple[Positive, Positive] | None = None
    """train_val_mix only: test predictions are the mean over these epochs, first and last; the
    paper's 16 to 25 of 30, in proportion, unless given (4.7)."""

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("features"), list | tuple) and all(
            isinstance(f, str) for f in data["features"]
        ):
            data["features"] = tuple(sorted(set(data["features"])))
        for name in unused(data):
            data.pop(name, None)
        if data.get("fold") == MIX and data.get("averaged_epochs") is None:
            epochs = data.get("epochs", 30)
            if isinstance(epochs, int) and epochs > 0:
                data["averaged_epochs"] = (
                    max(1, round(epochs * 16 / 30)),
                    max(1, round(epochs * 25 / 30)),
                )
        return data

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.uses_attention and self.width % self.attention_heads:
            raise ValueError(
                f"`width` must be a multiple of `attention_heads`, but got (width={self.width}, "
                f"attention_heads={self.attention_heads})"
            )
        if self.stride is not None and self.stride > self.segment_length:
            raise ValueError(
                f"`stride <= segment_length` must hold, but got (stride={self.stride}, "
                f"segment_length={self.segment_length})"
            )
        if (
            self.averaged_epochs is not None
            and not self.averaged_epochs[0] <= self.averaged_epochs[1] <= self.epochs
        ):
            raise ValueError(
                "`averaged_epochs[0] <= averaged_epochs[1] <= epochs` must hold, but got "
                f"(averaged_epochs={list(self.averaged_epochs)}, epochs={self.epochs})"
            )
        if self.fold == MIX and (self.patience is not None or self.schedule == "plateau"):
            raise ValueError(
                "fold train_val_mix has no validation scores, which `patience` and schedule plateau need"
            )
        if self.loss_valence == 0 and self.loss_arousal == 0:
            raise ValueError(
                "`loss_valence` and `loss_arousal` can't both be 0: there would be nothing to learn"
            )
        return self

    @property
    def uses_attention(self) -> bool:
        return self.encoder in ("transformer", "transformer_lstm")

    @property
    def trained_epochs(self) -> int:
        """Epochs that are trained at most: on train_val_mix no further than predictions are
        averaged, though the schedule counts all `epochs`."""
        return self.epochs if self.averaged_epochs is None else self.averaged_epochs[1]

    @property
    def carries_state(self) -> bool:
        return self.encoder in CARRIED


def unused(settings: dict[str, Any]) -> list[str]:
    """Names of the settings that have no effect beside the others given."""
    names: list[str] = []
    encoder = settings.get("encoder", "transformer")
    schedule = settings.get("schedule", "constant")
    if encoder in ("lstm", "gru"):
        names += ["layers", "attention_heads", "feed_forward"]
    if encoder == "transformer":
        names += ["hidden_size", "recurrent_layers"]
    if encoder in CARRIED:
        names += ["stride"]
    if settings.get("stride") is not None and settings.get("stride") == settings.get(
        "segment_length", 150
    ):
        names += ["stride"]
    if settings.get("fold", "official") != MIX:
        names += ["averaged_epochs"]
    if settings.get("normalise") == "none":
        names += ["normalise_by"]
    if schedule not in ("step", "plateau"):
        names += ["schedule_epochs"]
    if schedule not in ("step", "plateau", "exponential"):
        names += ["schedule_factor"]
    if schedule not in ("warmup_cosine", "one_cycle"):
        names += ["warmup"]
    return names


def trial_id(settings: TrialSettings, data_hash: str) -> str:
    """16 hex digits that stand for the settings, seed, fold, the data read and the meaning of the
    training code."""
    return digest({"settings": document(settings), "data": data_hash, "meaning": MEANING})[:16]


def configuration_id(settings: TrialSettings, *, but: tuple[str, ...]) -> str:
    """16 hex digits, equal for settings that differ in nothing `but` these: ("fold",) for a
    configuration's folds, ("seed",) for its seeds."""
    different = {"fold", "averaged_epochs"} if "fold" in but else set()
    said = {
        name: value for name, value in document(settings).items() if name not in {*but, *different}
    }
    return digest({"settings": said, "but": sorted(but)})[:16]


def document(settings: TrialSettings) -> dict[str, Any]:
    """Settings as JSON, those added after the first version left out while they have no effect: ids
    stay."""
    said = settings.model_dump(mode="json")
    if said["averaged_epochs"] is None:
        del said["averaged_epochs"]
    return said
