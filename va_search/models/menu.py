"""Menus: everything that a trial's settings can name, and the facts of each entry.

This module is free of torch: the space's reader, trial ids and reports read it. An entry's code is
imported when a model is built. To add an entry, write its class and one line here: allowed values,
trial ids, titles in reports, fused seeds and the check of docs/models.md follow from the line.

Conventions: an entry's code takes keyword arguments of two kinds. `settings` are settings that a
trial has anyway and that several entries share, such as `layers`. `options` are the entry's own, a
pydantic class; in a trial they are called by menu and option, such as `encoder.kernel`. A setting
or option that the chosen entry does not take is reset, so that it never makes another trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from va_search.errors import unknown_name


class Options(BaseModel):
    """Options of one entry: fields with types and defaults. They count in the trial's id."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen. `title` is for reports, `code` is `module:name`."""

    name: str
    title: str
    code: str
    settings: tuple[str, ...] = ()
    options: type[Options] = Options
    stackable: bool = False  # models/stacked.py computes it for several seeds at once

    def load(self) -> Any:
        """Import the class or function."""
        module, _, name = self.code.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class Encoder(Entry):
    """`gates` is the number of matrices in a recurrent cell, 0 without one: for sizes of models."""

    carries_state: bool = False  # from a recording's segment to its next
    causal: bool = False  # a step's output depends on no later step
    gates: int = 0


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """A learning-rate schedule."""

    by_batch: bool = False  # moves after every batch, not after every epoch
    needs_score: bool = False


@dataclass(frozen=True)
class Normaliser(Entry):
    """A choice of the frames that a recording is normalised by."""

    of_training: bool = False  # statistics of training recordings, kept with a model's weights


E = TypeVar("E", bound=Entry)


class Menu(Mapping[str, E]):
    """The entries that one setting may name, in the order in which docs list them."""

    def __init__(self, setting: str, *entries: E) -> None:
        self.setting = setting
        self.entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> E:
        return self.entries[name]

    def find(self, name: object) -> E | None:
        """The entry of this name; None where there is none."""
        return self.entries.get(name) if isinstance(name, str) else None

    def checked(self, name: object) -> str:
        """Return the name of an entry as it stands in a trial's settings; ValueError for others."""
        entry = self.find(name)
        if entry is None:
            raise ValueError(unknown_name(self.setting, name, self.entries))
        return entry.name

    def title(self, name: str) -> str:
        """The entry's title; the name itself where the menu has it no longer."""
        entry = self.find(name)
        return name if entry is None else entry.title

    @property
    def shared(self) -> set[str]:
        """The settings of a trial that some entry takes."""
        return {setting for entry in self.values() for setting in entry.settings}

    def option_name(self, option: str) -> str:
        """An option's name among a trial's settings."""
        return f"{self.setting}.{option}"


ATTENTION = ("layers", "attention_heads", "feed_forward", "encoder_dropout")
RECURRENCE = ("hidden_size", "recurrent_layers", "encoder_dropout")
BOTH = (*ATTENTION, "hidden_size", "recurrent_layers")
HEAD = ("head_sizes", "head_dropout")
DROPS = ("schedule_epochs", "schedule_factor")

LSTM = "va_search.models.encoders:Lstm"
GRU = "va_search.models.encoders:Gru"
TRANSFORMER = "va_search.models.encoders:Transformer"
TRANSFORMER_LSTM = "va_search.models.encoders:TransformerLstm"

ENCODERS = Menu(
    "encoder",
    Encoder("lstm", "LSTM", LSTM, RECURRENCE, carries_state=True, causal=True, gates=4),
    Encoder("gru", "GRU", GRU, RECURRENCE, carries_state=True, causal=True, gates=3),
    Encoder("transformer", "Transformer", TRANSFORMER, ATTENTION, stackable=True),
    Encoder(
        "transformer_lstm", "Transformer-LSTM", TRANSFORMER_LSTM, BOTH, carries_state=True, gates=4
    ),
)

FUSIONS = Menu(
    "fusion",
    Entry("early", "early", "va_search.models.estimator:Early", stackable=True),
    Entry("late", "late", "va_search.models.estimator:Late", stackable=True),
)

HEADS = Menu(
    "heads",
    Entry("separate", "separate", "va_search.models.estimator:Separate", HEAD, stackable=True),
    Entry("shared", "shared", "va_search.models.estimator:Shared", HEAD, stackable=True),
)

LOSSES = Menu(
    "loss",
    Entry(
        "ccc",
        "CCC",
        "va_search.training.loss:CccLoss",
        ("loss_valence", "loss_arousal"),
        stackable=True,
    ),
)


def _schedule(
    name: str, *settings: str, by_batch: bool = False, needs_score: bool = False
) -> ScheduleEntry:
    """A schedule built by the function of its name in training/schedules.py."""
    code = f"va_search.training.schedules:{name}"
    return ScheduleEntry(name, name, code, settings, by_batch=by_batch, needs_score=needs_score)


SCHEDULES = Menu(
    "schedule",
    _schedule("constant"),
    _schedule("step", *DROPS),
    _schedule("cosine"),
    _schedule("exponential", "schedule_factor"),
    _schedule("linear"),
    _schedule("warmup_cosine", "warmup", by_batch=True),
    _schedule("one_cycle", "warmup", by_batch=True),
    _schedule("plateau", *DROPS, needs_score=True),
)


def _normaliser(name: str, *settings: str, of_training: bool = False) -> Normaliser:
    """A normaliser whose function in data/normalise.py says whose frames are measured."""
    code = f"va_search.data.normalise:by_{name}"
    return Normaliser(name, name, code, settings, of_training=of_training)


NORMALISERS = Menu(
    "normalise",
    _normaliser("none"),
    _normaliser("train", "normalise_by", of_training=True),
    _normaliser("recording", "normalise_by"),
    _normaliser("subject", "normalise_by"),
)

MENUS: tuple[Menu[Any], ...] = (ENCODERS, FUSIONS, HEADS, LOSSES, SCHEDULES, NORMALISERS)
