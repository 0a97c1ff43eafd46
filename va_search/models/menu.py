"""Menus: everything that a trial's settings can name, and the facts of each entry.

This module is free of torch: the space's reader, trial ids and reports read it. An entry's code is
imported when a model is built. To add an entry, write its class and one line here: allowed values,
trial ids, titles in reports, fused seeds and the check of docs/models.md follow from the line. A
user's own class (sources.py) gets its entry from its constructor's signature and its attributes.

Conventions: an entry's code takes keyword arguments of two kinds. `settings` are settings that a
trial has anyway and that several entries share, such as `layers`. `options` are the entry's own, a
pydantic class; in a trial they are called by menu and option, such as `encoder.kernel`. A setting
or option that the chosen entry does not take is reset, so that it never makes another trial."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import Parameter
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from va_search.errors import InputError, unknown_name
from va_search.models import sources


class EntryOptions(BaseModel):
    """Options of one entry: fields with types and defaults. They count in the trial's id."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen. `title` is for reports, `code` is `module:name`."""

    name: str
    title: str
    code: str
    settings: tuple[str, ...] = ()
    options: type[EntryOptions] = EntryOptions
    # models/stacked.py computes it for several seeds at once
    stackable: bool = False
    # False for a user's own class whose code this process may not run: its facts are not known
    trusted: bool = True

    def load(self) -> Any:
        """Import the class or function. InputError for a user's own that is not trusted."""
        if sources.REFERENCE.fullmatch(self.code):
            return sources.load(self.code)
        module, _, name = self.code.partition(":")
        return getattr(import_module(module), name)

    def build(self, *given: Any, **arguments: Any) -> Any:
        """Import the entry's class and make one; of the `arguments` it gets those that it takes:
        the store's targets, say, are of no use to every class."""
        code = self.load()
        taken = inspect.signature(code).parameters
        chosen = {name: value for name, value in arguments.items() if name in taken}
        return code(*given, **chosen)

    def takes(self, option: str) -> bool:
        """True where the entry has such an option of its own."""
        return not self.trusted or option in self.options.model_fields


@dataclass(frozen=True)
class Encoder(Entry):
    """`gates` is the number of matrices in a recurrent cell, 0 without one, and `directions` the
    number of cells in a layer: for sizes of models."""

    # the encoder's state goes on from a recording's segment to its next
    carries_state: bool = False
    # a step's output depends on no later step
    causal: bool = False
    gates: int = 0
    directions: int = 1


@dataclass(frozen=True)
class Family(Entry):
    """A kind of model with its way of training; `code` trains, `model` is built from the columns of
    the input, the targets' names and the family's options, None for networks, which other menus make
    up."""

    model: str | None = None
    # a missing value stays one
    bears_missing: bool = False
    # its training draws nothing, but for the projection of wide inputs
    drawless: bool = False

    def new_model(self, columns: int, target_names: Sequence[str], **arguments: Any) -> Any:
        """Import the model's class and make one; `arguments` as the trial has them."""
        assert self.model is not None
        module, _, name = self.model.partition(":")
        options = {option: arguments[option] for option in self.options.model_fields}
        return getattr(import_module(module), name)(columns, target_names, **options)


@dataclass(frozen=True)
class Fusion(Entry):
    """A fusion of modalities."""

    # an encoder for each modality: with one modality it is early fusion
    of_modalities: bool = False


@dataclass(frozen=True)
class Loss(Entry):
    """A loss."""

    # the only heads with which it can be computed; empty: any
    heads: str = ""


@dataclass(frozen=True)
class ScheduleEntry(Entry):
    """A learning-rate schedule."""

    # moves after every batch, not after every epoch
    by_batch: bool = False
    needs_score: bool = False


@dataclass(frozen=True)
class Normaliser(Entry):
    """A choice of the frames that a recording is normalised by."""

    # statistics of training recordings, kept with a model's weights
    of_training: bool = False


E = TypeVar("E", bound=Entry)

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Menu(Mapping[str, E]):
    """The entries that one setting may name, in the order in which docs list them.

    `given` are the names of what an entry's code gets by position; None: it takes no class of a
    user's own. `offered` are the names of what it gets by keyword where its constructor has such a
    parameter: facts of the store, no options of the trial.
    """

    def __init__(
        self,
        setting: str,
        kind: type[E],
        *entries: E,
        given: tuple[str, ...] | None = None,
        offered: tuple[str, ...] = (),
    ) -> None:
        self.setting, self.kind, self.given, self.offered = setting, kind, given, offered
        self.entries = {entry.name: entry for entry in entries}
        # classes of a user's own that this process has imported
        self.own: dict[str, E] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> E:
        entry = self.find(name)
        if entry is None:
            raise KeyError(name)
        return entry

    def find(self, name: object) -> E | None:
        """The entry of this name, or of a user's class; None where there is none."""
        if not isinstance(name, str):
            return None
        if name in self.entries or self.given is None:
            return self.entries.get(name)
        if not sources.REFERENCE.fullmatch(name):
            return None
        if sources.trusted(name) is None:
            shared = tuple(sorted(self.shared))
            return self.kind(name, sources.title(name), name, shared, trusted=False)
        if name not in self.own:
            self.own[name] = own_entry(self, name)
        return self.own[name]

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
        return _all_settings(*self.entries.values())

    def option_name(self, option: str) -> str:
        """An option's name among a trial's settings."""
        return f"{self.setting}.{option}"


@cache
def _all_settings(*entries: Entry) -> set[str]:
    """The settings of all of these entries."""
    settings: set[str] = set()
    for entry in entries:
        settings.update(entry.settings)
    return settings


def own_entry(menu: Menu[E], reference: str) -> E:
    """The entry of a user's own class, made from the parameters of its constructor and from its
    attributes. InputError when the class can't be imported or has no such constructor."""
    code = sources.load(reference)
    positional = menu.given or ()
    parameters = list(inspect.signature(code).parameters.values())
    leading, options = parameters[: len(positional)], parameters[len(positional) :]
    options = [option for option in options if option.name not in menu.offered]
    fits = len(leading) == len(positional)
    fits &= all(parameter.kind in POSITIONAL for parameter in leading)
    fits &= all(parameter.kind in NAMED for parameter in options)
    if not fits:
        expected = ", ".join([*positional, "*", "option=default, …"])
        raise InputError(
            f"{menu.setting} {reference.partition('@')[0]}: its constructor takes "
            f"{inspect.signature(code)}, expected ({expected})"
        )

    # options that trials have anyway are theirs, the others are the class's own
    shared = [option.name for option in options if option.name in menu.shared]
    try:
        hints = get_type_hints(code.__init__)
    except Exception as error:  # whatever an annotation raises
        raise InputError(_unreadable_options(menu, reference, error)) from error
    fields: dict[str, Any] = {}
    for option in options:
        if option.name not in shared:
            default = ... if option.default is option.empty else option.default
            fields[option.name] = (hints.get(option.name, Any), default)
    try:
        own_options = create_model("OwnOptions", __base__=EntryOptions, **fields)
    except PydanticUserError as error:
        raise InputError(_unreadable_options(menu, reference, error)) from error

    facts = {
        name: getattr(code, name) for name in ("carries_state", "causal") if hasattr(code, name)
    }
    title = sources.title(reference)
    return menu.kind(reference, title, reference, tuple(shared), own_options, **facts)


def _unreadable_options(menu: Menu[Any], reference: str, error: Exception) -> str:
    """Say that the options of a user's own class have types that can't be read."""
    written = reference.partition("@")[0]
    reason = str(error).splitlines()[0]
    return f"{menu.setting} {written}: the types of its options can't be read ({reason})"


ATTENTION = ("layers", "attention_heads", "feed_forward", "encoder_dropout")
RECURRENCE = ("hidden_size", "recurrent_layers", "encoder_dropout")
BOTH = (*ATTENTION, "hidden_size", "recurrent_layers")
HEAD = ("head_sizes", "head_dropout")
DROPS = ("schedule_epochs", "schedule_factor")
AGREEMENT = ("weight_by_agreement",)

LSTM = "va_search.models.encoders:Lstm"
GRU = "va_search.models.encoders:Gru"
TRANSFORMER = "va_search.models.encoders:Transformer"
TRANSFORMER_LSTM = "va_search.models.encoders:TransformerLstm"
BILSTM = "va_search.models.encoders:BiLstm"
BIGRU = "va_search.models.encoders:BiGru"
TCN = "va_search.models.encoders:Tcn"
SSM = "va_search.models.encoders:Ssm"
MLP = "va_search.models.encoders:Mlp"


class TcnOptions(EntryOptions):
    """`kernel` steps are read on each level; `causal`: none of them later."""

    kernel: int = Field(5, ge=2)
    causal: bool = False


ENCODERS = Menu(
    "encoder",
    Encoder,
    Encoder("lstm", "LSTM", LSTM, RECURRENCE, carries_state=True, causal=True, gates=4),
    Encoder("gru", "GRU", GRU, RECURRENCE, carries_state=True, causal=True, gates=3),
    Encoder("transformer", "Transformer", TRANSFORMER, ATTENTION, stackable=True),
    Encoder(
        "transformer_lstm", "Transformer-LSTM", TRANSFORMER_LSTM, BOTH, carries_state=True, gates=4
    ),
    Encoder("bilstm", "BiLSTM", BILSTM, RECURRENCE, gates=4, directions=2),
    Encoder("bigru", "BiGRU", BIGRU, RECURRENCE, gates=3, directions=2),
    Encoder("tcn", "TCN", TCN, ("layers", "encoder_dropout"), TcnOptions, stackable=True),
    Encoder(
        "ssm",
        "state space",
        SSM,
        ("layers", "hidden_size", "encoder_dropout"),
        carries_state=True,
        causal=True,
    ),
    Encoder("mlp", "MLP", MLP, ("layers", "encoder_dropout"), stackable=True, causal=True),
    given=("width",),
)


class CrossAttentionOptions(EntryOptions):
    """`recursions`: so many times in a row, with the same weights."""

    recursions: int = Field(1, ge=1)


FUSED = "va_search.models.fusions"

FUSIONS = Menu(
    "fusion",
    Fusion,
    Fusion("early", "early", f"{FUSED}:Early", stackable=True),
    Fusion("late", "late", f"{FUSED}:Late", stackable=True, of_modalities=True),
    Fusion("gated", "gated", f"{FUSED}:Gated", stackable=True, of_modalities=True),
    Fusion(
        "cross_attention",
        "cross-attention",
        f"{FUSED}:CrossAttention",
        options=CrossAttentionOptions,
        of_modalities=True,
    ),
    given=("dims", "width", "new_encoder"),
    offered=("share_columns", "carries_state"),
)

BINNED = "va_search.models.estimator:Binned"


class BinnedOptions(EntryOptions):
    """`bins` is the number of values whose probabilities are learnt."""

    bins: int = Field(21, ge=2)


HEADS = Menu(
    "heads",
    Entry,
    Entry("separate", "separate", "va_search.models.estimator:Separate", HEAD, stackable=True),
    Entry("shared", "shared", "va_search.models.estimator:Shared", HEAD, stackable=True),
    Entry("binned", "binned", BINNED, HEAD, BinnedOptions),
    given=("size",),
    offered=("target_names",),
)


class MseShare(EntryOptions):
    """`mse_share` is the share of the mean squared error in the cost."""

    mse_share: float = Field(0.5, ge=0, le=1)


class RecordingShare(EntryOptions):
    """`recording_share` is the share of the recordings' own CCCs in the cost."""

    recording_share: float = Field(0.5, ge=0, le=1)


class CrossEntropyShare(EntryOptions):
    """`cross_entropy_share` is the share of the bins' cross entropy in the cost."""

    cross_entropy_share: float = Field(0.5, ge=0, le=1)


def _loss(
    name: str,
    title: str,
    code: str,
    options: type[EntryOptions] = EntryOptions,
    *,
    heads: str = "",
    stackable: bool = False,
    weighs_frames: bool = False,
) -> Loss:
    """A loss of training/losses.py; all weigh targets, and can punish rough predictions."""
    code = f"va_search.training.losses:{code}"
    settings: tuple[str, ...] = ("loss_valence", "loss_arousal", "loss_smoothness")
    if weighs_frames:
        settings = (*settings, *AGREEMENT)
    return Loss(name, title, code, settings, options, heads=heads, stackable=stackable)


LOSSES = Menu(
    "loss",
    Loss,
    _loss("ccc", "CCC", "CccLoss", stackable=True, weighs_frames=True),
    _loss("ccc_mse", "CCC and MSE", "CccMseLoss", MseShare, stackable=True),
    _loss("ccc_recording", "CCC, also per recording", "CccRecordingLoss", RecordingShare),
    _loss(
        "ccc_binned",
        "CCC and cross entropy",
        "CccBinnedLoss",
        CrossEntropyShare,
        heads="binned",
    ),
    given=(),
    offered=("target_names", "target_weights"),
)


def _schedule(
    name: str, *settings: str, by_batch: bool = False, needs_score: bool = False
) -> ScheduleEntry:
    """A schedule built by the function of its name in training/schedules.py."""
    code = f"va_search.training.schedules:{name}"
    return ScheduleEntry(name, name, code, settings, by_batch=by_batch, needs_score=needs_score)


SCHEDULES = Menu(
    "schedule",
    ScheduleEntry,
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
    Normaliser,
    _normaliser("none"),
    _normaliser("train", "normalise_by", of_training=True),
    _normaliser("recording", "normalise_by"),
    _normaliser("subject", "normalise_by"),
)


MOST_WINDOWED = 800
"""Windowed features of a model at most: wider inputs are brought to fewer columns by a fixed random
matrix."""

MOST_STEPS = 10_000
"""Training steps that trees are grown from, at most about: with five times as many they were no
better on people left out."""


class WindowOptions(EntryOptions):
    """Options of every family on windowed features: lengths of windows in model steps."""

    windows: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(max_length=20)] = (5, 20, 60)


def most_columns(windows: Sequence[int]) -> int:
    """Return how many columns of an input are described by so many windows without projection."""
    return MOST_WINDOWED // windowed_features(windows)


def windowed_features(windows: Sequence[int]) -> int:
    """Return how many windowed features a column has."""
    return 3 + 3 * len(windows)


class RidgeOptions(WindowOptions):
    """`alpha` is the shrinkage as a share of the labelled steps; None: chosen on training people left
    out."""

    alpha: Annotated[float, Field(ge=1e-9, allow_inf_nan=False)] | None = None


class BoostingOptions(WindowOptions):
    """`iterations` trees a target, of `leaves` leaves at most, each multiplied by `learning_rate`;
    `l2` is added to the steps of a leaf when its value is set; at each split `column_share` of the
    features, drawn anew, are tried."""

    iterations: int = Field(100, ge=1, le=2000)
    learning_rate: float = Field(0.05, gt=0, le=1)
    leaves: int = Field(8, ge=2, le=255)
    l2: float = Field(0.0, ge=0, allow_inf_nan=False)
    column_share: float = Field(0.3, gt=0, le=1)


FAMILIES = Menu(
    "family",
    Family,
    Family("network", "network", "va_search.training.fit:Fit", AGREEMENT, stackable=True),
    Family(
        "ridge",
        "ridge on windows",
        "va_search.training.closed_form:ClosedForm",
        options=RidgeOptions,
        model="va_search.models.windows:WindowRidge",
        drawless=True,
    ),
    Family(
        "boosting",
        "boosted trees on windows",
        "va_search.training.closed_form:Boosted",
        AGREEMENT,
        BoostingOptions,
        model="va_search.models.trees:WindowTrees",
        bears_missing=True,
    ),
)

MENUS: tuple[Menu[Any], ...] = (
    FAMILIES, ENCODERS, FUSIONS, HEADS, LOSSES, SCHEDULES, NORMALISERS,
)  # fmt: skip
