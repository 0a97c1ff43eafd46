"""The settings of one trial, with the paper's values as defaults, and the trial's id.

Importing this module is cheap (no torch): the search space and the command line validate with it.
What `encoder`, `fusion`, `heads`, `loss`, `schedule` and `normalise` may name, and which settings
have an effect beside each, is said in models/menu.py.

Conventions: lengths are in frames at the store's frame rate unless said otherwise; learning rates
are per optimiser step. Options that only one entry of a menu has are called by both, such as
`encoder.kernel`, and are among the settings only where that entry is chosen. Several names in
`normalise` are views: copies of the features, each normalised in its own way. Weights of targets
other than valence and arousal are called `loss_weights.engagement`, and are among the settings only
where they are given; `loss_weights: {engagement: 2}` is read, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from va_search.data.store import MIX, Store
from va_search.errors import unknown_name
from va_search.files import digest
from va_search.models.menu import (
    ENCODERS,
    FAMILIES,
    FUSIONS,
    HEADS,
    LOSSES,
    MENUS,
    NORMALISERS,
    SCHEDULES,
    Entry,
    Menu,
)
from va_search.targets import AFFECT

MEANING = 3
"""Version of what the training code computes: raised when the same settings would give other
predictions. (3: dropout's noise is drawn another way.)"""

MISSING_MEANING = 4
"""As `MEANING`, of trials that put frames with and without a value into one model step, or fuse a
modality that may be missing late."""

FITTED_MEANING = 1
"""As `MEANING`, of models that are no networks and are fitted at once, such as ridge and trees."""

FITTED_MISSING_MEANING = 2
"""As `MISSING_MEANING`, of models that are no networks."""

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Weight
WEIGHT: TypeAdapter[float] = TypeAdapter(Weight)

ADDED = "added after the first version"
"""Marks a setting, in its annotation, that trials made before it did not have: a trial that leaves
it at its default has the id that it had then."""

OF_ANY_FAMILY = (
    "features", "normalise", "normalise_by", "clip", "missing", "frame_step", "segment_length",
    "label_delay", "batch_size", "seed", "fold",
)  # fmt: skip
"""Settings of what a model reads."""

NETWORK = "network"
"""The family of models with encoder, fusion and heads."""

WEIGHTS = "loss_weights"
"""The setting that weighs targets other than valence and arousal in the loss, by name."""


def checked_views(value: Any) -> Any:
    """Return the name of a normaliser, or the names of several in the menu's order; one in a list
    is that one. ValueError for names that are not on the menu."""
    if not isinstance(value, list | tuple):
        return NORMALISERS.checked(value)
    names = {NORMALISERS.checked(name) for name in value}
    if not names:
        raise ValueError("expected the name of a normaliser, or of several, found none")
    views = tuple(name for name in NORMALISERS if name in names)
    return views if len(views) > 1 else views[0]


class TrialSettings(BaseModel):
    """One configuration with its seed and fold. Settings without effect beside the others are reset
    to their defaults, so that trials which would compute the same thing have the same id."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    # data
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    # several: as many views of the features, side by side
    normalise: Annotated[str | tuple[str, ...], BeforeValidator(checked_views)] = "train"
    normalise_by: Literal["mean_std", "median_mad"] = "mean_std"
    # after normalising, in units of the spread
    clip: Annotated[float, Field(gt=0)] | None = None
    # what a missing value is to the model; beside it stands the share of values that are there
    missing: Annotated[Literal["zero", "mean", "last"], ADDED] = "zero"
    # frames averaged into one model step; predictions are interpolated back to every frame
    frame_step: Positive = 1
    # model steps per segment (4.2)
    segment_length: Positive = 150
    # model steps; None: the segment length, always so for carried-state encoders (3.3.1)
    stride: Positive | None = None

    # network, or a model that is set after one look: then only data, `family` and its options count
    family: Annotated[str, BeforeValidator(FAMILIES.checked), ADDED] = NETWORK
    # model
    fusion: Annotated[str, BeforeValidator(FUSIONS.checked)] = "early"
    encoder: Annotated[str, BeforeValidator(ENCODERS.checked)] = "transformer"
    # affine dimension in front of the encoder (4.2)
    width: Positive = 1024
    # transformer encoder layers
    layers: Positive = 4
    attention_heads: Positive = 4
    feed_forward: Positive = 1024
    encoder_dropout: Share = 0.3
    # lstm, gru and the LSTM behind a transformer
    hidden_size: Positive = 512
    recurrent_layers: Positive = 1
    # a mean of the encoder's output beside each step: over the recording, or up to the step
    context: Annotated[Literal["none", "recording", "running"], ADDED] = "none"
    # one regressor per dimension, or one for both
    heads: Annotated[str, BeforeValidator(HEADS.checked)] = "separate"
    head_sizes: tuple[Positive, ...] = (512, 256)
    head_dropout: Share = 0.1

    # augmentation of what is trained on (training/augmentation.py); amounts are in units of the
    # normalised features' spread
    feature_noise: Annotated[Amount, ADDED] = 0.0
    # per recording and column, drawn anew for each epoch
    offset_jitter: Annotated[Amount, ADDED] = 0.0
    gain_jitter: Annotated[Amount, ADDED] = 0.0
    # share of a segment's steps that are hidden, in one run
    time_masking: Annotated[Share, ADDED] = 0.0
    # probability with which a recording is without a modality, never without all
    modality_dropout: Annotated[Share, ADDED] = 0.0
    # alpha of the beta distribution that shares of mixed segments are drawn from
    mixup: Annotated[Amount, ADDED] = 0.0
    # seconds by which annotations follow the features
    label_delay: Annotated[float, Field(ge=0, le=60), ADDED] = 0.0

    # loss and optimiser
    loss: Annotated[str, BeforeValidator(LOSSES.checked), ADDED] = "ccc"
    # alpha of the paper's formula 10
    loss_valence: Annotated[float, Field(ge=0)] = 1.0
    loss_arousal: Annotated[float, Field(ge=0)] = 1.0  # beta
    # frames on which several raters agree weigh more (training/frame_weights.py)
    weight_by_agreement: Annotated[bool, ADDED] = False
    # weight of the predictions' roughness beside each target's cost
    loss_smoothness: Annotated[Weight, ADDED] = 0.0
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    clip_gradient: Annotated[float, Field(gt=0)] | None = 5.0
    # segments; for carried-state encoders recordings side by side
    batch_size: Positive = 16
    epochs: Positive = 30
    # stop after so many epochs without a better valence or arousal
    patience: Positive | None = None
    # epochs that predictions and weights are made of; `ema`: a moving average of the weights
    keep: Annotated[Literal["best", "last", "mean_last_5", "ema"], ADDED] = "best"
    # part of the moving average that an optimiser step leaves as it is
    ema_decay: Annotated[float, Field(gt=0, lt=1), ADDED] = 0.99
    schedule: Annotated[str, BeforeValidator(SCHEDULES.checked)] = "constant"
    # step: epochs between drops; plateau: epochs without gain before a drop
    schedule_epochs: Positive = 20
    # step, plateau, exponential (per epoch)
    schedule_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    # warmup_cosine, one_cycle: share of all steps
    warmup: Share = 0.1

    # execution that changes results
    # bf16 only where a GPU is
    precision: Literal["float32", "bf16"] = "float32"
    # torch.compile, only where a GPU is
    compile: bool = False

    seed: Annotated[int, Field(ge=0)] = 0
    fold: int | Literal["official", "train_val_mix"] = "official"
    averaged_epochs: tuple[Positive, Positive] | None = None
    """train_val_mix with `keep: best` only, since nothing says which epoch is best: test predictions
    are the mean over these epochs, first and last; the paper's 16 to 25 of 30, in proportion,
    unless given (4.7)."""

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = _flat_weights(data)
        features = data.get("features")
        if isinstance(features, list | tuple) and all(isinstance(name, str) for name in features):
            data["features"] = tuple(sorted(set(features)))
        if isinstance(data.get("normalise"), list | tuple):
            data["normalise"] = checked_views(data["normalise"])
        _check_names(data)
        # what has no effect goes, and options are written out: one meaning, one id
        for name in unused(data):
            data.pop(name, None)
        for menu in MENUS:
            data |= _options(menu, data)
        if not _is_network(data):
            data |= {"epochs": 1, "keep": "last"}
        epochs = data.get("epochs", 30)
        averages = _averages(data) and data.get("averaged_epochs") is None
        if averages and isinstance(epochs, int) and epochs > 0:
            first = max(1, round(epochs * 16 / 30))
            data["averaged_epochs"] = (first, max(1, round(epochs * 25 / 30)))
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
        averaged = self.averaged_epochs
        if averaged is not None and not averaged[0] <= averaged[1] <= self.epochs:
            raise ValueError(
                "`averaged_epochs[0] <= averaged_epochs[1] <= epochs` must hold, but got "
                f"(averaged_epochs={list(averaged)}, epochs={self.epochs})"
            )
        needs_score = self.patience is not None or SCHEDULES[self.schedule].needs_score
        if self.fold == MIX and needs_score:
            raise ValueError(
                "fold train_val_mix has no validation scores, which `patience` and schedule "
                "plateau need"
            )
        needed = LOSSES[self.loss].heads
        if needed and self.heads != needed:
            raise ValueError(f"loss {self.loss} needs heads {needed}, but got heads {self.heads}")
        affect = self.loss_valence or self.loss_arousal
        if not affect and not any(self.loss_weights.values()):
            raise ValueError(
                "`loss_valence` and `loss_arousal` can't both be 0: there would be nothing to learn"
            )
        return self

    def data_hash(self, store: Store) -> str:
        """Return the hash of all that this trial reads of a store."""
        return store.data_hash(self.features, self.fold, spread=self.weight_by_agreement)

    def arguments(self, menu: Menu[Any]) -> dict[str, Any]:
        """Keyword arguments for the code of the entry that is chosen from a menu."""
        entry: Entry = menu[getattr(self, menu.setting)]
        shared = {name: getattr(self, name) for name in entry.settings}
        own = {name: getattr(self, menu.option_name(name)) for name in entry.options.model_fields}
        return shared | own

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the normalisers: of one, or of several side by side."""
        return (self.normalise,) if isinstance(self.normalise, str) else self.normalise

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights given for targets other than valence and arousal, by target."""
        weights: dict[str, float] = {}
        for name, value in (self.model_extra or {}).items():
            setting, _, target = name.partition(".")
            if setting == WEIGHTS:
                weights[target] = value
        return weights

    def loss_weight(self, target: str) -> float:
        """Return the weight of a target in the loss; 1 where none is given."""
        if target == "valence":
            return self.loss_valence
        if target == "arousal":
            return self.loss_arousal
        return self.loss_weights.get(target, 1.0)

    @property
    def is_network(self) -> bool:
        """False for a family of models without encoder, fusion and heads."""
        return self.family == NETWORK

    @property
    def stand_in(self) -> str:
        """The value that stands in for missing ones, a value of `missing`, or "none": they stay
        missing."""
        return "none" if FAMILIES[self.family].bears_missing else self.missing

    @property
    def uses_attention(self) -> bool:
        encoder = ENCODERS[self.encoder]
        return encoder.trusted and "attention_heads" in encoder.settings

    @property
    def trained_epochs(self) -> int:
        """Epochs that are trained at most: on train_val_mix no further than predictions are
        averaged, though the schedule counts all `epochs`."""
        return self.epochs if self.averaged_epochs is None else self.averaged_epochs[1]

    @property
    def carries_state(self) -> bool:
        """True where the encoder's state goes from a recording's segment to its next."""
        return ENCODERS[self.encoder].carries_state

    @property
    def stackable(self) -> bool:
        """True where several seeds can be trained as one model."""
        return not unstackable([self])


def unstackable(settings: Sequence[TrialSettings]) -> list[str]:
    """Reasons why trials of these settings can't be trained as one model; empty when they can."""
    chosen: dict[str, str] = {}
    for trial in settings:
        for menu in (FAMILIES, ENCODERS, FUSIONS, HEADS, LOSSES):
            name = getattr(trial, menu.setting)
            if not menu[name].stackable:
                allowed = [entry.name for entry in menu.values() if entry.stackable]
                chosen[f"{menu.setting} {name}"] = ", ".join(allowed)
    problems = [
        f"{name} can't be fused (allowed: {allowed}): its kernels take one model at a time"
        for name, allowed in sorted(chosen.items())
    ]
    contexts = {trial.context for trial in settings} - {"none"}
    for context in sorted(contexts):
        problems.append(
            f"context {context} can't be fused (allowed: none): each model has sums of its own"
        )
    return problems


def unused(settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that have no effect beside the others."""
    shape = _shape(settings)
    if shape is None:
        return unused_one_by_one(settings)
    names = _UNUSED.get(shape)
    if names is None:
        if len(_UNUSED) >= MOST_SHAPES:
            _UNUSED.clear()
        names = _UNUSED[shape] = tuple(unused_one_by_one(settings))
    return list(names)


Shape = tuple[tuple[str, ...], tuple[str, ...], bool, bool, bool]
"""Names of settings, and what else of them decides which have no effect."""

MOST_SHAPES = 4096
"""Shapes that are remembered: a space has a few for each of its encoders."""

_UNUSED: dict[Shape, tuple[str, ...]] = {}
_KNOWN_NAMES: set[tuple[str, ...]] = set()
"""Names of settings that were checked together."""


def _shape(settings: Mapping[str, Any]) -> Shape | None:
    """Return everything of the settings that `unused_one_by_one` looks at, which thousands of trials
    of a study have in common; None where it looks at more, or entries come and go: classes of a
    user's own, names that are on no menu."""
    chosen = []
    for menu in MENUS:
        name = settings.get(menu.setting, TrialSettings.model_fields[menu.setting].default)
        if isinstance(name, str) and name in menu.entries:
            chosen.append(name)
        elif menu is NORMALISERS:  # several views, which are no entry
            chosen.append("")
        else:
            return None
    stride = settings.get("stride")
    is_whole = stride is not None and stride == settings.get("segment_length", 150)
    is_moving = settings.get("keep") == "ema"
    return tuple(settings), tuple(chosen), is_whole, _averages(settings), is_moving


def unused_one_by_one(settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that have no effect beside the others, found by looking at each."""
    names: list[str] = []
    if not _is_network(settings):
        family = _chosen(FAMILIES, settings)
        names += [name for name in settings if not _is_of_family(name, family)]
        # what has no effect says nothing of the others
        settings = {name: settings[name] for name in settings if name not in names}
    options = [name for name in settings if "." in name]
    for menu in MENUS:
        entry = _chosen(menu, settings)
        if entry is None:
            continue  # a name that is on no menu is refused elsewhere
        names += menu.shared - set(entry.settings)
        if not entry.trusted:  # what its class takes is not known, defaults tell nothing
            for name in menu.shared & TrialSettings.model_fields.keys():
                if settings.get(name) == TrialSettings.model_fields[name].default:
                    names.append(name)
        for name in options:
            setting, _, option = name.partition(".")
            if setting == menu.setting and not entry.takes(option):
                names.append(name)
    loss = _chosen(LOSSES, settings)
    if loss is not None and {WEIGHTS, "loss_valence", "loss_arousal"}.isdisjoint(loss.settings):
        names += [name for name in settings if name.startswith(f"{WEIGHTS}.")]
    encoder = _chosen(ENCODERS, settings)
    stride = settings.get("stride")
    length = settings.get("segment_length", 150)
    if (encoder is not None and encoder.carries_state) or (stride is not None and stride == length):
        names.append("stride")
    if not _averages(settings):
        names.append("averaged_epochs")
    if settings.get("keep") != "ema":
        names.append("ema_decay")
    return names


def effective_settings(settings: TrialSettings) -> dict[str, Any]:
    """Return the settings that have an effect, as JSON has them."""
    written = settings.model_dump(mode="json")
    for name in unused(written):
        written.pop(name, None)
    return written


def without_effect(settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that change nothing a reader would look for: unused ones, and for models
    of other families than networks, which sum over all segments, how many these take at a time."""
    names = unused(settings)
    return names if _is_network(settings) else [*names, "batch_size"]


def shown_settings(settings: TrialSettings) -> dict[str, Any]:
    """Return the settings to show of a trial, as JSON has them."""
    written = settings.model_dump(mode="json")
    for name in without_effect(written):
        written.pop(name, None)
    return written


def _is_network(settings: Mapping[str, Any]) -> bool:
    """False where the settings choose another family, or one that is on no menu."""
    return bool(settings.get("family", NETWORK) == NETWORK)


def _is_of_family(name: str, family: Any) -> bool:
    """True for settings that have an effect on models of this family, which are no networks; None:
    the family is on no menu."""
    if name == "missing" and family is not None and family.bears_missing:
        return False
    shared = () if family is None else family.settings
    own = name.partition(".")[0] == FAMILIES.setting
    return own or name in OF_ANY_FAMILY or name in shared


def _averages(settings: Mapping[str, Any]) -> bool:
    """True where the predictions are the mean over `averaged_epochs`."""
    return settings.get("fold") == MIX and settings.get("keep", "best") == "best"


def _flat_weights(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each weight of `loss_weights` as a setting of its own, checked; ValueError for
    wrong ones."""
    flat = dict(settings)
    weights = flat.pop(WEIGHTS, None) or {}
    if not isinstance(weights, Mapping):
        raise ValueError(f"{WEIGHTS}: expected weights by target, found {weights!r}")
    for target, weight in weights.items():
        flat[f"{WEIGHTS}.{target}"] = weight
    for name, weight in flat.items():
        if not str(name).startswith(f"{WEIGHTS}."):
            continue
        target = str(name).removeprefix(f"{WEIGHTS}.")
        if target in AFFECT:
            raise ValueError(f"{name}: the weight of {target} is the setting loss_{target}")
        try:
            flat[name] = WEIGHT.validate_python(weight)
        except ValidationError as error:
            raise ValueError(_reason(name, error)) from None
    return flat


def setting_field(name: Any) -> FieldInfo | None:
    """The type and default of a setting, or of an option such as `encoder.kernel` that some entry
    of the menu has; None where there is no such setting."""
    if not isinstance(name, str):  # YAML has other keys than texts
        return None
    if name in TrialSettings.model_fields:
        return TrialSettings.model_fields[name]
    setting, _, option = name.partition(".")
    if setting == WEIGHTS and option:
        return FieldInfo.from_annotated_attribute(Weight, 1.0)
    for menu in MENUS:
        if menu.setting == setting:
            for entry in (*menu.values(), *menu.own.values()):
                if option in entry.options.model_fields:
                    field: FieldInfo = entry.options.model_fields[option]
                    return field
    return None


def _chosen(menu: Menu[Any], settings: Mapping[str, Any]) -> Any:
    """The entry that settings choose from a menu, the default where they don't say."""
    default = TrialSettings.model_fields[menu.setting].default
    return menu.find(settings.get(menu.setting, default))


def _check_names(settings: Mapping[str, Any]) -> None:
    """ValueError for a setting that there is not."""
    names = tuple(settings)
    if names in _KNOWN_NAMES:
        return
    unread = {
        menu.setting for menu in MENUS if not getattr(_chosen(menu, settings), "trusted", True)
    }
    for name in settings:
        if name.partition(".")[0] not in unread and setting_field(name) is None:
            raise ValueError(unknown_name("setting", name, TrialSettings.model_fields))
    if not unread:
        if len(_KNOWN_NAMES) >= MOST_SHAPES:
            _KNOWN_NAMES.clear()
        _KNOWN_NAMES.add(names)


def _options(menu: Menu[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All own options of the chosen entry, checked, by their names in a trial."""
    entry = _chosen(menu, settings)
    if entry is None or not entry.options.model_fields:
        return {}
    options: dict[str, Any] = {}
    for name in entry.options.model_fields:
        label = menu.option_name(name)
        if label in settings:
            options[name] = settings[label]
    try:
        checked = entry.options(**options)
    except ValidationError as error:
        name = menu.option_name(str(error.errors()[0]["loc"][0]))
        raise ValueError(_reason(name, error)) from None
    return {menu.option_name(name): value for name, value in checked.model_dump().items()}


def _reason(name: str, error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{name}: {problem['msg']}, found {problem['input']!r}"


def trial_id(settings: TrialSettings, data_hash: str, meaning: int = MEANING) -> str:
    """16 hex digits that stand for the settings, seed, fold, the data read and the meaning of the
    training code."""
    return digest({"settings": document(settings), "data": data_hash, "meaning": meaning})[:16]


def trial_id_on(settings: TrialSettings, store: Store) -> str:
    """Return the `trial_id` of a trial on this store."""
    return trial_id(settings, settings.data_hash(store), meaning_on(settings, store))


def meaning_on(settings: TrialSettings, store: Store) -> int:
    """Version of what the training code computes for these settings on this store."""
    missing = any(store.feature_sets[name].missing for name in settings.features)
    missing = missing and (settings.frame_step > 1 or settings.fusion == "late")
    if FAMILIES[settings.family].model is not None:
        return FITTED_MISSING_MEANING if missing else FITTED_MEANING
    return MISSING_MEANING if missing else MEANING


def configuration_id(settings: TrialSettings, *, but: tuple[str, ...]) -> str:
    """16 hex digits, equal for settings that differ in nothing `but` these: ("fold",) for a
    configuration's folds, ("seed",) for its seeds."""
    different = set(but)
    if "fold" in but:
        different.add("averaged_epochs")
    compared = {name: value for name, value in document(settings).items() if name not in different}
    return digest({"settings": compared, "but": sorted(but)})[:16]


def settings_as_before(settings: TrialSettings) -> dict[str, Any]:
    """Settings as JSON without those that are `ADDED` and have their default."""
    written = settings.model_dump(mode="json")
    for name, default in _added_settings():
        if getattr(settings, name) == default:
            del written[name]
    return written


@cache
def _added_settings() -> list[tuple[str, Any]]:
    """The settings that are `ADDED`, and their defaults."""
    added = []
    for name, field in TrialSettings.model_fields.items():
        if ADDED in field.metadata:
            added.append((name, field.default))
    return added


def document(settings: TrialSettings) -> dict[str, Any]:
    """Settings as JSON, those added after the first version left out while they have no effect: ids
    stay."""
    written = settings_as_before(settings)
    if written["averaged_epochs"] is None:
        del written["averaged_epochs"]
    for target, weight in settings.loss_weights.items():
        if weight == 1:
            del written[f"{WEIGHTS}.{target}"]
    return written


def value_text(value: Any) -> str:
    """A setting's value (as JSON has it, or as `TrialSettings` does) as a person writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "+".join(map(value_text, value)) or "none"
    return str(value)
