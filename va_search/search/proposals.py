"""What to train next: trials of the space, each at most once, in an order that a resumed study repeats.

Order: trials that were asked for before and are not complete (killed, failed), then new configurations from the
sampler, each with all its seeds and folds before the next. TPE learns one value per configuration, or two where
valence and arousal are searched together: the mean of its trials'. It is told finished trials of earlier runs first,
so a resumed study goes on where it stopped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from va_search.errors import InputError
from va_search.search.outcomes import Values
from va_search.search.sampler import Asked, Sampler, TrialValues
from va_search.search.space import Space
from va_search.training.settings import TrialSettings

REPEATS = 100
"""Asks in a row that bring nothing new before the sampler is taken to be stuck."""

AFTERWARDS = 10
"""As many once it was stuck: asking grows dearer with every answer."""

OTHERS = 20_000
"""A space of up to so many configurations is walked whole when the sampler is stuck; of a larger one, as many are
drawn at random before it is taken to have no more."""


@dataclass
class Configuration:
    """One point of the space on its way through the sampler."""

    asked: Asked | None
    waiting: set[str]
    values: TrialValues = field(default_factory=dict)


def take(
    queue: deque[tuple[str, TrialSettings]], wanted: Callable[[TrialSettings], bool]
) -> tuple[str, TrialSettings] | None:
    """The first trial of a queue that is wanted, taken out of it; None when there is none."""
    for at, drawn in enumerate(queue):
        if wanted(drawn[1]):
            del queue[at]
            return drawn
    return None


class Proposals:
    """Hands out trials one by one; `trial_id` maps settings to the id under this study's data."""

    def __init__(self, space: Space, trial_id: Any) -> None:
        self._space = space
        self._trial_id = trial_id
        self._seen: set[str] = set()  # meanings: trials that would compute the same are one
        self._queue: deque[tuple[str, TrialSettings]] = deque()
        self._configurations: dict[str, Configuration] = {}
        self._resumed: dict[str, TrialSettings] = {}
        self._sampler = None if space.sampler == "grid" else Sampler(space, space.sampler, space.sampler_seed)
        self._grid = space.configurations() if space.sampler == "grid" else iter(())
        self._rest: Iterator[dict[str, Any]] | None = None
        self._repeats = REPEATS

    def resume(self, asked: list[tuple[str, TrialSettings]]) -> None:
        """Queue trials that an earlier run asked for and did not finish, oldest first."""
        for trial, settings in asked:
            meaning = self._space.meaning(settings)
            if meaning not in self._seen:
                self._seen.add(meaning)
                self._repeats += 1
                self._resumed[trial] = settings
                self._queue.append((trial, settings))

    def learn(self, finished: list[tuple[str, TrialSettings, Values | None]]) -> None:
        """Tell the sampler of trials that are complete already: (id, settings, values; None: it has none)."""
        for _, settings, _ in finished:
            self._seen.add(self._space.meaning(settings))
            if self._space.sampler == "random":  # a resumed study draws all of these again before it gets further
                self._repeats += 1
        self.warm_up(finished)

    def warm_up(self, others: list[tuple[str, TrialSettings, Values | None]]) -> None:
        """Tell the sampler of trials without taking them for this study's: they may still be asked for."""
        by_configuration: dict[str, tuple[TrialSettings, TrialValues]] = {}
        for trial, settings, found in others:
            key = settings.model_copy(update={"seed": 0, "fold": "official"}).model_dump_json()
            if found is not None:
                by_configuration.setdefault(key, (settings, {}))[1][trial] = found
        for settings, values in by_configuration.values():
            self._add(settings, values)

    def next(self, wanted: Callable[[TrialSettings], bool] | None = None) -> tuple[str, TrialSettings] | None:
        """The next trial to train, never the same twice; None when the space has no more. With `wanted` the first of
        those already queued for which it holds; None when there is none."""
        if wanted is not None:
            return take(self._queue, wanted)
        for _ in range(self._repeats):
            if self._queue or not self._ask():
                break
        if not self._queue and self._sampler is not None:
            self._fall_back()
        return self._queue.popleft() if self._queue else None

    def tell(self, trial: str, value: Values | None) -> None:
        """A trial's values, None when it failed or has none; passed on once its configuration waits for no more."""
        configuration = self._configurations.pop(trial, None)
        if configuration is None:
            if trial in self._resumed and value is not None:
                self._add(self._resumed[trial], {trial: value})
            return
        configuration.waiting.discard(trial)
        if value is not None:
            configuration.values[trial] = value
        if not configuration.waiting:
            self._tell(configuration)

    def retell(self, values: Mapping[str, Values]) -> None:
        """Tell of these trials anew: what they are worth has changed."""
        for configuration in self._configurations.values():
            configuration.values = {trial: values.get(trial, old) for trial, old in configuration.values.items()}
        if self._sampler is not None:
            self._sampler.retell(values)

    def _ask(self) -> bool:
        """Queue what is new in one more configuration; False when there is none left to ask for."""
        if self._sampler is None:
            configuration = next(self._grid, None)
            if configuration is not None:
                self._enqueue(configuration, None)
            return configuration is not None
        asked, proposed = self._sampler.ask()
        self._enqueue(proposed, asked)
        return True

    def _enqueue(self, configuration: dict[str, Any], asked: Asked | None) -> None:
        point = Configuration(asked, set())
        try:
            trials = [(self._trial_id(settings), settings) for settings in self._space.trials(configuration)]
        except InputError:  # the values do not go together, such as a width that the attention heads don't divide
            trials = []
        for trial, settings in trials:
            meaning = self._space.meaning(settings)
            if meaning not in self._seen:
                self._seen.add(meaning)
                point.waiting.add(trial)
                self._configurations[trial] = point
                self._queue.append((trial, settings))
        if not point.waiting:
            self._tell(point)

    def _tell(self, configuration: Configuration) -> None:
        if self._sampler is not None and configuration.asked is not None:
            self._sampler.tell(configuration.asked, configuration.values)

    def _fall_back(self) -> None:
        """The sampler only repeats itself: take what is new from the others, in a repeatable order."""
        self._repeats = AFTERWARDS
        if self._rest is None:
            self._rest = self._others()
        for configuration in islice(self._rest, OTHERS):
            self._enqueue(configuration, None)
            if self._queue:
                return

    def _others(self) -> Iterator[dict[str, Any]]:
        """All configurations of a small space, shuffled; without end random ones of a large or infinite space."""
        size = self._space.size()
        if size is not None and size <= OTHERS:
            rest = list(self._space.configurations())
            random.Random(self._space.sampler_seed).shuffle(rest)  # noqa: S311
            yield from rest
            return
        drawn = Sampler(self._space, "random", self._space.sampler_seed + 1)
        while True:
            yield drawn.ask()[1]

    def _add(self, settings: TrialSettings, values: TrialValues) -> bool:
        """Tell the sampler of trials it did not ask for; False when they lie outside the space."""
        return self._sampler is not None and self._sampler.add(settings.model_dump(mode="json"), values)
