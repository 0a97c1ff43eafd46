"""Models of a user's own: found in a search space, their options put among its settings, and tried
before a search begins.

    settings:
      encoder: {choice: [gru, my_models.py:Conformer]}
      encoder_options: {kernel: {choice: [3, 7]}}

Conventions: the path is relative to the folder of the space's file, or else to the working folder.
A file that the user names is trusted. `encoder_options` may give every form that settings have; an
option is in play where an encoder is chosen that takes it. Trials are tried on random numbers: two
rows of `STEPS` steps, of which the second has fewer real ones. A class of heads or a loss whose
constructor has a parameter `target_names` gets the names of the store's targets, a loss with
`target_weights` the weight of each; they are no options of a trial."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.errors import InputError, unknown_name
from va_search.models import sources
from va_search.models.menu import ENCODERS, FUSIONS, HEADS, LOSSES, MENUS, Menu
from va_search.targets import AFFECT
from va_search.trial_settings import TrialSettings

if TYPE_CHECKING:
    from torch import Tensor

OWN = (ENCODERS, FUSIONS, HEADS, LOSSES)
"""Menus that take a user's own classes."""

STEPS, SHORTER = 12, 8

PROTOCOLS = {
    "encoder": "__init__(self, width, *, option=default, …) with self.size; "
    "forward(self, x, mask, state) -> (y [batch, step, size], state, () without one)",
    "fusion": "__init__(self, dims, width, new_encoder, *, option=default, …) with self.size; "
    "forward(self, x, mask, states) -> (y [batch, step, size], one state per encoder)",
    "heads": "__init__(self, size, *, option=default, …); "
    "forward(self, x) -> y [batch, step, {targets}] in [-1, 1]",
    "loss": "__init__(self, *, option=default, …); "
    "__call__(self, prediction [batch, step, {targets}], label, NaN where unlabelled) -> a number; "
    "it may take `mask` [batch, step], `recording` [batch] and `weight` [batch, step, {targets}] "
    "as well",
}


def with_own_models(document: Any, path: Path, *, kept: bool = False) -> Any:
    """Return a space's document with each `file.py:Class` as trials name it, with its source, and
    with options as settings of their own. InputError for files and options that there are not.

    `path` is the space's file. The files named are read and trusted, unless the space is one that
    was `kept` with a study: whoever made that home named them, not this user.
    """
    folder = None if kept else path.parent
    if isinstance(document, dict) and isinstance(document.get("trials"), list):
        trials = [_with_sources(entry, folder) for entry in document["trials"]]
        return {**document, "trials": trials}
    settings = document.get("settings") if isinstance(document, dict) else None
    if not isinstance(settings, dict):
        return document
    for menu in OWN:
        settings = {name: _named(menu, name, value, folder) for name, value in settings.items()}
        for name in _choices(settings.get(menu.setting)):
            menu.find(name)  # imports it: what is wrong with a file is said once, here
    for menu in MENUS:
        settings = _with_options(menu, settings, path)
    return {**document, "settings": settings}


def _with_sources(entry: Any, folder: Path | None) -> Any:
    """The settings of one trial, a user's own classes in them as trials name them, and options as
    settings of their own."""
    if not isinstance(entry, dict):
        return entry
    named = dict(entry)
    for menu in MENUS:
        options = named.get(f"{menu.setting}_options")
        if isinstance(options, dict):
            del named[f"{menu.setting}_options"]
            named |= {menu.option_name(name): value for name, value in options.items()}
    for menu in OWN:
        if menu.setting in entry:
            named[menu.setting] = _references(entry[menu.setting], folder)
            menu.find(named[menu.setting])
    return named


def _named(menu: Menu[Any], name: str, declared: Any, folder: Path | None) -> Any:
    """A setting's declaration, the menu's own classes in it as trials name them."""
    if not isinstance(declared, dict):
        return _references(declared, folder) if name == menu.setting else declared
    named = {
        form: _references(value, folder) if name == menu.setting and form != "when" else value
        for form, value in declared.items()
    }
    condition = declared.get("when")
    if isinstance(condition, dict) and menu.setting in condition:
        referred = _references(condition[menu.setting], folder)
        named["when"] = {**condition, menu.setting: referred}
    return named


def _references(value: Any, folder: Path | None) -> Any:
    """A value, or each value of a list; `file.py:Class` as `file.py:Class@source`. With a source in
    it, the file is trusted if it is still that one. Without a folder no file is looked for."""
    if isinstance(value, list):
        return [_references(item, folder) for item in value]
    match = sources.WRITTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None or folder is None:
        return value
    tried = [base / match["path"] for base in dict.fromkeys([folder, Path()])]
    for file in tried:
        if not file.is_file():
            continue
        source = sources.read_source(file)
        reference = source.reference(match["name"])
        if match["digest"] in (None, source.digest):
            sources.trust(source)
            return reference
    if match["digest"] is not None:
        return value  # a space that a study keeps; its source may be trusted already
    listed = " and ".join(str(file.absolute()) for file in tried)
    raise InputError(f"{value}: no such file (looked for {listed})")


def _with_options(menu: Menu[Any], settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Settings with the menu's options, such as `encoder_options`, as settings of their own."""
    key = f"{menu.setting}_options"
    if key not in settings:
        return settings
    options = settings[key]
    if not isinstance(options, dict):
        raise InputError(f"{path}: settings.{key}: expected options and what they may be")
    chosen = _choices(settings.get(menu.setting))
    entries = [entry for entry in map(menu.find, chosen) if entry is not None]
    flat = {name: value for name, value in settings.items() if name != key}
    for option, declared in options.items():
        taking = [entry.name for entry in entries if entry.takes(option)]
        if not taking:
            options_of = chain.from_iterable(entry.options.model_fields for entry in entries)
            sentence = unknown_name(
                f"option of this space's {menu.setting}", option, set(options_of)
            )
            raise InputError(f"{path}: settings.{key}: {sentence}")
        # in play only where an entry is chosen that takes it
        form = declared if isinstance(declared, dict) else {"value": declared}
        if len(taking) < len(chosen):
            form = {**form, "when": {menu.setting: taking, **(form.get("when") or {})}}
        flat[menu.option_name(option)] = form
    return flat


def _choices(declared: Any) -> list[Any]:
    """The values that a declaration of a name allows."""
    if not isinstance(declared, dict):
        return [declared]
    if isinstance(declared.get("choice"), list):
        return list(declared["choice"])
    return [declared.get("value")]


def own_sources(settings: TrialSettings) -> list[dict[str, Any]]:
    """The sources of the classes of a user's own that a trial is made of, as JSON."""
    documents: list[dict[str, Any]] = []
    for menu in OWN:
        source = sources.trusted(getattr(settings, menu.setting))
        if source is not None and source.document() not in documents:
            documents.append(source.document())
    return documents


def own_model_problems(
    several: Iterable[TrialSettings], target_names: Sequence[str] = AFFECT
) -> list[str]:
    """Try each class of a user's own that these settings choose, on random numbers; one sentence
    for each class that can't be used for these targets, with what is expected of it."""
    tried: set[str] = set()
    problems: list[str] = []
    for settings in several:
        for menu in OWN:
            name = getattr(settings, menu.setting)
            if name in menu.entries or name in tried:
                continue
            tried.add(name)
            written = name.partition("@")[0]
            try:
                found = list(_problems(settings, menu, target_names))
            except InputError as error:
                problems += error.problems
                continue
            except Exception as error:  # whatever a user's class raises
                found = [f"fails with {type(error).__name__}: {error}"]
            expected = PROTOCOLS[menu.setting].format(targets=len(target_names))
            problems += [
                f"{menu.setting} {written}: {problem}; expected: {expected}; see docs/models.md"
                for problem in found[:1]
            ]
    return problems


def _problems(
    settings: TrialSettings, menu: Menu[Any], target_names: Sequence[str]
) -> Iterator[str]:
    """Reasons why the class that is chosen from the menu can't be used."""
    import torch

    from va_search.training.predict import build_loss

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        code = menu[getattr(settings, menu.setting)].load()
        options = settings.arguments(menu)
        if menu is LOSSES:
            yield from _loss_problems(build_loss(settings, target_names), len(target_names))
        elif menu is HEADS:
            heads = menu[settings.heads].build(
                settings.width, **options, target_names=tuple(target_names)
            )
            yield from _output_problems(heads(_rows(settings.width)), len(target_names))
        elif menu is ENCODERS:
            yield from _encoder_problems(settings, code(settings.width, **options))
        else:
            yield from _fusion_problems(settings, code, options)


def _rows(width: int) -> Tensor:
    import torch

    return torch.randn(2, STEPS, width)


def _output_problems(y: Any, width: int) -> Iterator[str]:
    """Reasons why `y` is no output [2, STEPS, width]."""
    import torch

    if not isinstance(y, torch.Tensor):
        yield f"its output is a {type(y).__name__}, not a tensor"
    elif y.shape != (2, STEPS, width):
        yield f"its output has the shape {list(y.shape)}, not [2, {STEPS}, {width}]"
    elif not y.isfinite().all():
        yield "its output is NaN or infinite on the very first batch"


def _encoder_problems(settings: TrialSettings, encoder: Any) -> Iterator[str]:
    import torch

    entry = ENCODERS[settings.encoder]
    size = getattr(encoder, "size", None)
    if not isinstance(size, int):
        yield "it has no `size`, the width of its output"
        return
    # forward and backward of a batch whose second row ends early
    mask = torch.ones(2, STEPS, dtype=torch.bool)
    mask[1, SHORTER:] = False
    x = _rows(settings.width)
    y, state = encoder(x, mask, None)
    yield from _output_problems(y, size)
    y.sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    if any(gradient is not None and not gradient.isfinite().all() for gradient in gradients):
        yield "its gradient is NaN or infinite on the very first batch"
    if entry.carries_state and not state:
        yield "it says `carries_state`, but the state it returns is empty"
    if state and not entry.carries_state:
        yield "it returns a state, which is lost unless the class says `carries_state = True`"

    # what comes later, or is padding, must not reach a step that is before it
    encoder.eval()
    later = x.clone()
    later[:, SHORTER:] += 3.0
    with torch.no_grad():
        y, changed = encoder(x, mask, None)[0], encoder(later, mask, None)[0]
    if not torch.allclose(y[1, :SHORTER], changed[1, :SHORTER], atol=1e-4):
        yield "values at padded steps (mask False) change its output at real ones"
    if entry.causal and not torch.allclose(y[0, :SHORTER], changed[0, :SHORTER], atol=1e-4):
        yield "it says `causal`, but later steps change its output at earlier ones"


def _fusion_problems(settings: TrialSettings, code: Any, options: dict[str, Any]) -> Iterator[str]:
    from functools import partial

    import torch

    encoder = ENCODERS[settings.encoder].load()
    new_encoder = partial(encoder, settings.width, **settings.arguments(ENCODERS))
    # the facts of the store that a fusion may ask for: nothing is missing here
    offered = {"share_columns": [[], []], "carries_state": settings.carries_state}
    taken = inspect.signature(code).parameters
    options = options | {name: value for name, value in offered.items() if name in taken}
    fusion = code([3, 2], settings.width, new_encoder, **options)
    size = getattr(fusion, "size", None)
    if not isinstance(size, int):
        yield "it has no `size`, the width of its output"
        return
    mask = torch.ones(2, STEPS, dtype=torch.bool)
    y, states = fusion(_rows(5), mask, None)
    yield from _output_problems(y, size)
    if not isinstance(states, tuple) or any(not isinstance(state, tuple) for state in states):
        yield "its states are no tuple of the encoders' states"


def _loss_problems(loss: Any, targets: int) -> Iterator[str]:
    import torch

    prediction = torch.rand(2, STEPS, targets, requires_grad=True)
    label = torch.rand(2, STEPS, targets)
    label[1, SHORTER:] = torch.nan
    mask = torch.ones(2, STEPS, dtype=torch.bool)
    mask[1, SHORTER:] = False
    value = loss(prediction, label, mask=mask, recording=torch.arange(2))
    if not isinstance(value, torch.Tensor) or value.shape != ():
        yield f"it returns {value!r}, not a tensor of one number"
    elif not value.isfinite():
        yield "it is NaN or infinite where some labels are missing"
    else:
        value.backward()  # type: ignore[no-untyped-call]
        if prediction.grad is None or not prediction.grad.isfinite().all():
            yield "its gradient is missing, NaN or infinite where some labels are missing"
