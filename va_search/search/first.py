"""Configurations that are trained before the sampler proposes any:

    first:
    - {family: ridge, normalise: subject, frame_step: {steps_per_second: 1}}
    - {family: network, encoder: lstm, learning_rate: 2.0e-3, features: all}

Conventions: an entry names settings of the space with one of their values each. Feature sets that it
does not name are all there are, where the space allows that; any other setting is drawn at
random, the same at each run. Entries that mean the same on a store are one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from va_search.data.store import Store
from va_search.document import YamlFile
from va_search.document.words import expected_found
from va_search.errors import InputError, unknown_name
from va_search.search.configurations import Configuration, Space
from va_search.trial import ALL

FIRST = "first"
"""The key of a space's document that lists them."""
TRIES = 100
"""So many times what an entry leaves open is drawn, until its values go together."""
FRAME_STEP, STEPS_PER_SECOND = "frame_step", "steps_per_second"
"""A frame step may be said by the steps that a second has, so that one space fits many stores."""


def read_first(
    entries: Sequence[Mapping[str, Any]], space: Space, store: Store, file: YamlFile
) -> tuple[Configuration, ...]:
    """Read the entries of `first` for a space; problems are noted in its file."""
    configurations: list[Configuration] = []
    for index, entry in enumerate(entries):
        values = _on_store(entry, space, store)
        problems = _problems_of(values, space)
        for name, problem in problems.items():
            file.problem((FIRST, index, name), problem)
        if problems:
            continue
        try:
            configurations.append(_completed(values, index, space))
        except InputError as error:
            for problem in error.problems:
                file.problem((FIRST, index), problem)
    return tuple(configurations)


def nearest_frame_step(store: Store, steps_per_second: float) -> int:
    """Return the number of frames that comes nearest to so many steps a second."""
    frames_per_second = max(recording.frames_per_second for recording in store.recordings)
    return max(1, round(frames_per_second / steps_per_second))


def _on_store(entry: Mapping[str, Any], space: Space, store: Store) -> dict[str, Any]:
    """The values of an entry, those in words that fit any store as this one has them."""
    values = dict(entry)
    frame_step = values.get(FRAME_STEP)
    if isinstance(frame_step, Mapping) and list(frame_step) == [STEPS_PER_SECOND]:
        rate = frame_step[STEPS_PER_SECOND]
        if isinstance(rate, int | float) and rate > 0:
            values[FRAME_STEP] = nearest_frame_step(store, rate)
    every_set = sorted(store.feature_sets)
    allowed = "features" in space.settings and space.settings["features"].domain.contains(every_set)
    if allowed and values.get("features", ALL) == ALL:
        values["features"] = every_set
    return values


def _problems_of(entry: Mapping[str, Any], space: Space) -> dict[str, str]:
    """Problems of an entry's values by setting: each must be one that the space has."""
    problems: dict[str, str] = {}
    for name, value in entry.items():
        if name not in space.settings:
            problems[name] = unknown_name("setting of this space", str(name), space.settings)
        elif not space.settings[name].domain.contains(value):
            problems[name] = expected_found("one of the values that the space allows", value)
    return problems


def _completed(entry: Mapping[str, Any], index: int, space: Space) -> Configuration:
    """The configuration of an entry; InputError where its values never go together."""
    generator = Random(f"{space.sampler_seed} {index}")  # noqa: S311 (no secret)
    problem = InputError("")
    for _ in range(TRIES):
        configuration = space.completed(entry, generator)
        unused = [name for name in entry if name not in configuration]
        try:
            space.trials(configuration)
        except InputError as error:
            problem = error
            continue
        if not unused:
            return configuration
        problem = InputError(f"`{unused[0]}` has no effect beside the other values")
    raise problem
