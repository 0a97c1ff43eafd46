"""Reading a search space: a YAML file that says what may vary and how it is searched, validated
whole.

sampler: tpe                 grid | random | tpe
sampler_seed: 0
objective: score             score | valence | arousal | both | ensemble: what the sampler and early stopping look at
budget: {trials: 24, hours: 0.5, no_improvement: 10}      trials are rounded up to whole configurations
seeds: [0, 1]                each configuration is trained once per seed and fold
folds: [official]            official; numbers of the store's folds, or all; train_val_mix (none to validate)
early_stopping: {grace_epochs: 5, reduction_factor: 3}      ASHA; leave it out for none
settings: …                  see declaration.py and features.py
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.document import yaml_document
from va_search.errors import InputError, unknown_name
from va_search.search.configurations import Configuration, Space
from va_search.search.declaration import Setting, read_domain, read_when
from va_search.search.domains import Domain
from va_search.search.features import read_features
from va_search.search.header import read_header
from va_search.search.problems import Place, Problems
from va_search.search.sameness import sameness_of
from va_search.search.values import ELSEWHERE, KNOWN
from va_search.training.own_models import with_own_models
from va_search.training.settings import TrialSettings, setting_field

__all__ = ["Configuration", "Space", "load_space", "read_space"]

TRIED = 20_000
"""So many combinations are tried before a space is said to have no valid one."""


def load_space(path: Path, store: Store) -> Space:
    """The search space in a YAML file, for this store; InputError with every problem and its
    line."""
    with yaml_document(path) as (document, lines):
        return read_space(document, store, path=path, name=path.stem, lines=lines)


def read_space(
    document: Any, store: Store, *, path: Path, name: str, lines: Mapping[Place, int] | None = None
) -> Space:
    """The search space in a document that stands in the file at `path`; errors as in
    `load_space`."""
    if not isinstance(document, dict):
        raise InputError(
            f"{path}: expected a mapping with sampler and settings, found {document!r}"
        )
    if "method" in document and not {"sampler", "settings"} & document.keys():
        raise InputError(
            f"{path}: this is a recipe of `va-search ensemble --recipe`, expected a search space"
        )
    document = with_own_models(document, path)
    problems = Problems(path, lines or {})
    header = read_header(document, store, problems)
    settings = _read_settings(document.get("settings", {}), store, problems)
    if header is not None and header.sampler == "grid":
        _refuse_infinite(settings, problems)
    problems.stop()
    assert header is not None
    space = Space(
        name, document, header, _in_order(settings, problems), sameness_of(store, header.folds)
    )
    _check_reachable(space, problems)
    _check_early_stopping(space, problems)
    problems.stop()
    _check_valid(space, problems)
    return space


def _read_settings(declared: Any, store: Store, problems: Problems) -> dict[str, Setting]:
    if not isinstance(declared, dict):
        problems.add(("settings",), f"expected settings and what they may be, found {declared!r}")
        return {}
    if "features" not in declared:
        problems.add(
            ("settings",), "`features` is missing; give feature sets, such as features: all"
        )
    domains: dict[str, Domain | None] = {}
    for name, value in declared.items():
        at = ("settings", name)
        if name in ELSEWHERE:
            problems.add(
                at, f"`{name}` is no setting of a space; use `{ELSEWHERE[name]}` at the top level"
            )
        elif name not in KNOWN and setting_field(name) is None:
            problems.add(at, unknown_name("setting", name, KNOWN))
        elif name == "features":
            domains[name] = read_features(value, store, at, problems)
        else:
            domains[name] = read_domain(name, value, at, problems)
    settings = {}
    for name, domain in domains.items():
        value = declared[name]
        has_when = isinstance(value, dict) and "when" in value and name != "features"
        when = (
            read_when(value["when"], domains, ("settings", name, "when"), problems)
            if has_when
            else {}
        )
        if domain is not None:
            settings[name] = Setting(domain, when)
    return settings


def _refuse_infinite(settings: dict[str, Setting], problems: Problems) -> None:
    for name, setting in settings.items():
        if setting.domain.count() is None:
            problems.add(
                ("settings", name, "float"),
                "a float range has no grid; write {choice: […]}, or take sampler random or tpe",
            )


def _in_order(settings: dict[str, Setting], problems: Problems) -> dict[str, Setting]:
    """As declared, but every setting after those its condition names; a circle is a problem."""
    ordered: dict[str, Setting] = {}
    while len(ordered) < len(settings):
        ready = [
            n
            for n, s in settings.items()
            if n not in ordered and all(other in ordered for other in s.when)
        ]
        if not ready:
            circle = _circle({name: s for name, s in settings.items() if name not in ordered})
            problems.add(
                ("settings", circle[0], "when"), f"conditions go in a circle: {' → '.join(circle)}"
            )
            problems.stop()
        ordered[ready[0]] = settings[ready[0]]
    return ordered


def _circle(waiting: dict[str, Setting]) -> list[str]:
    """Some circle among settings that all wait for one another: its names in order, the first again
    at the end."""
    walk = [next(iter(waiting))]
    while walk.count(walk[-1]) < 2:
        walk.append(next(other for other in waiting[walk[-1]].when if other in waiting))
    return walk[walk.index(walk[-1]) :]


def _check_reachable(space: Space, problems: Problems) -> None:
    """Every conditional setting must be in play in some configuration."""
    for name, setting in space.settings.items():
        if not setting.when:
            continue
        deciding = _deciding(space, name)
        tried = list(
            islice(
                space.combinations([other for other in space.settings if other in deciding]), TRIED
            )
        )
        if len(tried) < TRIED and not any(space.in_play(name, chosen) for chosen in tried):
            text = "these conditions never hold together, so they exclude everything"
            problems.add(("settings", name, "when"), text)


def _deciding(space: Space, name: str) -> set[str]:
    """The settings that decide whether `name` is in play, and those that decide of these."""
    found: set[str] = set()
    waiting = list(space.settings[name].when)
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += space.settings[other].when
    return found


def _check_early_stopping(space: Space, problems: Problems) -> None:
    """Early stopping must be able to stop some trial: the first rung comes before the last
    epoch."""
    early = space.early_stopping
    if early is None:
        return
    setting = space.settings.get("epochs")
    default = TrialSettings.model_fields["epochs"].default
    epochs = default if setting is None else max(setting.domain.values())
    if early.grace_epochs < epochs:
        return
    given = "grace_epochs" in space.document["early_stopping"]
    at_most = " at most" if setting is not None and setting.domain.count() != 1 else ""
    problems.add(
        ("early_stopping", "grace_epochs") if given else ("early_stopping",),
        f"`grace_epochs < epochs` must hold, or no trial is ever stopped, but got (grace_epochs={early.grace_epochs}, "
        f"epochs={epochs}{at_most}); lower it, or leave `early_stopping` out",
    )


def _check_valid(space: Space, problems: Problems) -> None:
    """At least one configuration must be valid; a large space is judged by many drawn at random."""
    reason = ""
    every = islice(space.combinations(list(space.settings)), TRIED)
    for chosen in chain(_drawn(space, 50), every, _drawn(space, 2000)):
        try:
            space.trials(chosen)
        except InputError as error:
            reason = str(error)
        else:
            return
    problems.add(("settings",), f"no configuration is valid; of the last one tried: {reason}")
    problems.stop()


def _drawn(space: Space, number: int) -> Iterator[Configuration]:
    generator = random.Random(0)  # noqa: S311 (no secret)
    for _ in range(number):
        yield space.drawn(generator)
