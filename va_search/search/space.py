"""Search spaces: YAML files that say what may vary and how it is searched, read for a store and
validated whole. Declarations: see space_header.py, declarations.py and features.py."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.document import YamlFile
from va_search.document.words import Place, expected_found, missing
from va_search.errors import InputError, unknown_name
from va_search.search.configurations import Configuration, Space
from va_search.search.declarations import (
    ELSEWHERE,
    KNOWN,
    Setting,
    read_domain,
    read_prior,
    read_when,
)
from va_search.search.domains import Domain
from va_search.search.features import read_features
from va_search.search.first import FRAME_STEP, STEPS_PER_SECOND, nearest_frame_step, read_first
from va_search.search.listed import TRIALS, ListedSpace, read_listed
from va_search.search.sameness import sameness_of
from va_search.search.space_header import SpaceHeader, read_header
from va_search.targets import AFFECT
from va_search.training.own_models import with_own_models
from va_search.trial_settings import WEIGHTS, TrialSettings, setting_field

__all__ = ["Configuration", "Space", "load_space", "read_space"]

TRIED = 20_000
"""So many combinations are tried before a space is said to have no valid one."""

LEAST_RATE = 1e-5
"""Steps a second at least: about one a day."""

DRAWN = 2_000
"""So many are drawn at random before."""


def load_space(path: Path, store: Store) -> Space:
    """Read the search space in a YAML file, for this store; InputError with every problem and its
    line."""
    return _read(YamlFile.read(path), store, path.stem)


def read_space(document: Any, store: Store, *, path: Path, name: str, kept: bool = False) -> Space:
    """Read a search space from the document of the file at `path`; errors as in `load_space`.

    `kept`: it is a study's own, so that no file it names is run unless the user trusts it.
    """
    return _read(YamlFile(path, document), store, name, kept=kept)


def _read(file: YamlFile, store: Store, name: str, *, kept: bool = False) -> Space:
    document = file.expect_mapping("a search space")
    if "method" in document and not {"sampler", "settings"} & document.keys():
        raise InputError(
            f"{file.path}: this is a recipe of `va-search ensemble --recipe`, expected a search space"
        )
    document = with_own_models(document, Path(file.path), kept=kept)
    header = read_header(file, store)
    if header is not None and header.trials is not None:
        listed = read_listed(document[TRIALS], file, store, header.folds)
        file.stop()
        return ListedSpace(
            name,
            document,
            **{**_of_space(header), "first": ()},
            sameness=sameness_of(store, header.folds),
            targets=store.target_names,
            listed=tuple(listed),
        )
    # The settings are read even where the header is wrong: all problems at once.
    declared = document.get("settings")
    settings: dict[str, Setting] = {}
    if isinstance(declared, dict):
        flat = _with_frames(_with_weights(declared, file), store, file)
        settings = _read_settings(flat, store, file)
        _check_weights(settings, store, file)
    if header is not None and header.sampler == "grid":
        _refuse_infinite(settings, file)
    file.stop()
    assert header is not None

    # From here on every declaration is right by itself; do they make sense together?
    space = Space(
        name,
        document,
        **{**_of_space(header), "settings": _in_order(settings, file), "first": ()},
        sameness=sameness_of(store, header.folds),
        targets=store.target_names,
    )
    _check_reachable(space, file)
    _check_early_stopping(space, file)
    file.stop()
    _check_valid(space, file)
    file.stop()
    space = replace(space, first=read_first(header.first, space, store, file))
    file.stop()
    return space


def _of_space(header: SpaceHeader) -> dict[str, Any]:
    """The fields of a header that a space has, too."""
    return {key: value for key, value in dict(header).items() if key != TRIALS}


def _read_settings(declared: dict[str, Any], store: Store, file: YamlFile) -> dict[str, Setting]:
    """The settings of a space by name, as declared."""
    if "features" not in declared:
        sentence = missing("feature sets, such as features: all")
        file.problem(("settings", "features"), sentence)
    domains: dict[str, Domain | None] = {}
    for name, value in declared.items():
        location = _place(name)
        if name in ELSEWHERE:
            sentence = (
                f"`{name}` is no setting of a space; use `{ELSEWHERE[name]}` at the top level"
            )
            file.problem(location, sentence)
        elif name not in KNOWN and setting_field(name) is None:
            file.problem(location, unknown_name("setting", name, KNOWN))
        elif name == "features":
            domains[name] = read_features(value, store, location, file)
        else:
            domains[name] = read_domain(name, value, location, file)

    # Conditions last: they name values that other settings can have.
    settings = {}
    for name, domain in domains.items():
        value = declared[name]
        when: dict[str, tuple[Any, ...]] = {}
        if isinstance(value, dict) and "when" in value and name != "features":
            when = read_when(value["when"], domains, (*_place(name), "when"), file)
        if domain is not None:
            prior = read_prior(name, value, domain, _place(name), file)
            settings[name] = Setting(domain, when, prior)
    return settings


def _with_weights(declared: dict[str, Any], file: YamlFile) -> dict[str, Any]:
    """Settings with each weight of `loss_weights` as a setting of its own."""
    flat = dict(declared)
    weights = flat.pop(WEIGHTS, {})
    if not isinstance(weights, dict):
        expected = "weights by target, such as {liking: 0.5}"
        file.problem(("settings", WEIGHTS), expected_found(expected, weights))
        return flat
    for target, weight in weights.items():
        flat[f"{WEIGHTS}.{target}"] = weight
    return flat


def _with_frames(declared: dict[str, Any], store: Store, file: YamlFile) -> dict[str, Any]:
    """Settings with `frame_step: {steps_per_second: [1, 2]}` as the numbers of frames that come
    nearest to these on the store."""
    frame_step = declared.get(FRAME_STEP)
    if not isinstance(frame_step, dict) or STEPS_PER_SECOND not in frame_step:
        return declared
    place = (*_place(FRAME_STEP), STEPS_PER_SECOND)
    rates = frame_step[STEPS_PER_SECOND]
    numbers = rates if isinstance(rates, list) else [rates]
    wrong = [number for number in numbers if not _is_rate(number)]
    if wrong or not numbers or len(frame_step) > 1:
        expected = "steps a second, such as {steps_per_second: [1, 2]}, and nothing beside"
        file.problem(place, expected_found(expected, wrong[0] if wrong else frame_step))
        return {**declared, FRAME_STEP: 1}
    frames = [nearest_frame_step(store, number) for number in numbers]
    return {**declared, FRAME_STEP: {"choice": [*dict.fromkeys(frames)]}}


def _is_rate(value: Any) -> bool:
    """True for a number of steps a second that a recording may have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return LEAST_RATE <= value < math.inf


def _check_weights(settings: dict[str, Setting], store: Store, file: YamlFile) -> None:
    """Every weight must be of a target of the store, but for weights of 1, the default, of valence
    and arousal, which the paper's spaces name."""
    targets = store.target_names
    for name, setting in settings.items():
        weights, _, target = name.partition(".")
        if weights == WEIGHTS and target in AFFECT:
            sentence = f"the weight of {target} is the setting loss_{target}"
            file.problem(_place(name), sentence)
        elif weights == WEIGHTS and target not in targets:
            file.problem(_place(name), unknown_name("target", target, targets))

        lacking = {f"loss_{target}": target for target in AFFECT if target not in targets}
        if name in lacking and [*setting.domain.values()] != [1]:
            sentence = f"this store has no target {lacking[name]} (it has: {', '.join(targets)})"
            file.problem(_place(name), sentence)


def _place(name: Any) -> Place:
    """The place of a setting in the file."""
    setting, _, target = str(name).partition(".")
    return ("settings", WEIGHTS, target) if setting == WEIGHTS else ("settings", name)


def _refuse_infinite(settings: dict[str, Setting], file: YamlFile) -> None:
    for name, setting in settings.items():
        if setting.domain.count() is None:
            file.problem(
                (*_place(name), "float"),
                "a float range has no grid; write {choice: […]}, or take sampler random, tpe or gp",
            )


def _in_order(settings: dict[str, Setting], file: YamlFile) -> dict[str, Setting]:
    """As declared, but every setting after those its condition names; a circle is a problem."""
    # Always the first one declared that waits for no other: the grid's order depends on it.
    ordered: dict[str, Setting] = {}
    waiting = dict(settings)
    while waiting:
        ready = [name for name, setting in waiting.items() if ordered.keys() >= setting.when.keys()]
        if not ready:
            circle = _circle(waiting)
            sentence = f"conditions go in a circle: {' → '.join(circle)}"
            file.problem((*_place(circle[0]), "when"), sentence)
            file.stop()
        ordered[ready[0]] = waiting.pop(ready[0])
    return ordered


def _circle(waiting: dict[str, Setting]) -> list[str]:
    """Some circle among settings that all wait for one another: its names in order, the first again
    at the end."""
    walk = [next(iter(waiting))]
    while walk.count(walk[-1]) < 2:
        walk.append(next(name for name in waiting[walk[-1]].when if name in waiting))
    return walk[walk.index(walk[-1]) :]


def _check_reachable(space: Space, file: YamlFile) -> None:
    """Every conditional setting must be in play in some configuration."""
    for name, setting in space.settings.items():
        if not setting.when:
            continue
        # Only the settings that decide of it are combined; the others may be many.
        deciding = _deciding(space, name)
        names = [setting for setting in space.settings if setting in deciding]
        tried = list(islice(space.combinations(names), TRIED))
        if len(tried) < TRIED and not any(space.in_play(name, chosen) for chosen in tried):
            text = "these conditions never hold together, so they exclude everything"
            file.problem((*_place(name), "when"), text)


def _deciding(space: Space, name: str) -> set[str]:
    """The settings that decide whether `name` is in play, and those that decide of these."""
    conditions = space.settings[name].when
    return set(conditions).union(*(_deciding(space, condition) for condition in conditions))


def _check_early_stopping(space: Space, file: YamlFile) -> None:
    """Early stopping must be able to stop some trial: the first rung comes before the last
    epoch."""
    early = space.early_stopping
    if early is None:
        return
    setting = space.settings.get("epochs")
    default = TrialSettings.model_fields["epochs"].default
    epochs = default if setting is None else max(setting.domain.values())
    at_most = " at most" if setting is not None and setting.domain.count() != 1 else ""
    if early.grace_epochs < epochs:
        return
    location: Place = ("early_stopping",)
    if "grace_epochs" in space.document["early_stopping"]:
        location = ("early_stopping", "grace_epochs")
    file.problem(
        location,
        "`grace_epochs < epochs` must hold, or no trial is ever stopped, but got "
        f"(grace_epochs={early.grace_epochs}, epochs={epochs}{at_most}); lower it, or leave "
        "`early_stopping` out",
    )


def _check_valid(space: Space, file: YamlFile) -> None:
    """At least one configuration must be valid; a large space is judged by many drawn at random."""
    # A few at random find a valid one at once in nearly every space; then all in order.
    generator = random.Random(0)  # noqa: S311 (no secret)
    drawn = (space.drawn(generator) for _ in range(DRAWN))
    every = islice(space.combinations(), TRIED)
    reason = ""
    for configuration in chain(drawn, every):
        try:
            space.trials(configuration)
        except InputError as error:
            reason = str(error)
        else:
            return
    file.problem(("settings",), f"no configuration is valid; of the last one tried: {reason}")
