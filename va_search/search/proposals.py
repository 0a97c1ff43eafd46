"""The order of a search: trials of the space, each at most once, in an order that a resumed study
repeats.

Order: trials that were asked for before and are not complete (killed, failed), then new
configurations from the sampler, each with all its seeds and folds before the next. TPE and GP learn
one
value per configuration, or two where valence and arousal are searched together: the mean of its
trials'. It is told finished trials of earlier runs first, so a resumed study goes on where it
stopped.

The configurations that a space lists as `first` come before the sampler's; it learns from them."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from va_search.errors import InputError
from va_search.search.configurations import Configuration, Space
from va_search.search.outcomes import Values
from va_search.search.sampler import Asked, Sampler, TrialValues
from va_search.trial_settings import TrialSettings, configuration_id

REPEATS = 100
"""Asks in a row that bring nothing new before the sampler is taken to be stuck. Of a small space of
which little is left fewer are asked, in proportion: what is left is then found by walking, not by
chance."""

AFTERWARDS = 10
"""As many once it was stuck: asking grows dearer with every answer."""

FEWEST = 2
"""At least so many asks, however little is left."""

OTHERS = 20_000
"""A space of up to so many configurations is walked whole when the sampler is stuck. Of a larger
one configurations are drawn at random until so many in a row bring nothing new; then a finite one
is walked whole, in grid order."""


@dataclass
class Proposal:
    """One configuration on its way through the sampler; it waits for its trials' values. `first`:
    one of the space's `first`, which the sampler did not ask for and learns from."""

    asked: Asked | None
    waiting: set[str]
    values: TrialValues = field(default_factory=dict)
    first: Configuration | None = None


class AskedTrial(NamedTuple):
    """A trial that is asked for: its id, and the settings to train it with."""

    id: str
    settings: TrialSettings


class OwnTrial(NamedTuple):
    """A trial of the study's own: its settings, the configuration of the space that they come from,
    and what is equal for trials that would compute the same (`Space.meaning`)."""

    settings: TrialSettings
    configuration: Configuration
    meaning: str


def take(
    queue: deque[AskedTrial], wanted: Callable[[TrialSettings], bool] | None
) -> AskedTrial | None:
    """Take the first trial whose settings are `wanted` (None: any) out of a queue; None when there
    is none."""
    for index, trial in enumerate(queue):
        if wanted is None or wanted(trial.settings):
            del queue[index]
            return trial
    return None


def partner_of(settings: TrialSettings) -> Callable[[TrialSettings], bool]:
    """Return a test for trials that can be trained as one model with this one (`--fuse-seeds`):
    other seeds of its configuration and fold, none where its parts can't be stacked."""
    if not settings.stackable:
        return lambda _: False
    configuration = configuration_id(settings, but=("seed",))
    return lambda other: configuration_id(other, but=("seed",)) == configuration


class Proposals:
    """Hands out trials one by one; `trial_id` maps settings to the id under this study's data.

    `exhausted` is true once every configuration of the space has been asked for (of an endless one:
    once `OTHERS` draws in a row brought nothing new)."""

    def __init__(self, space: Space, trial_id: Any) -> None:
        self._space = space
        self._trial_id = trial_id
        self._seen: set[str] = set()  # meanings: trials that would compute the same are one
        self._queue: deque[AskedTrial] = deque()
        self._proposals: dict[str, Proposal] = {}
        self._configurations: dict[str, Configuration] = {}
        self._resumed: dict[str, TrialSettings] = {}
        self._sampler = (
            None if space.sampler == "grid" else Sampler(space, space.sampler, space.sampler_seed)
        )
        self._grid = space.combinations() if space.sampler == "grid" else iter(())
        self._first = iter(space.first)
        self._rest: Iterator[dict[str, Any]] | None = None
        self._repeats = REPEATS
        self.exhausted = False

    def resume(self, asked: Sequence[tuple[str, TrialSettings]]) -> bool:
        """Queue trials that an earlier run asked for and did not finish, oldest first; False where
        all of them were asked for in this run, too."""
        queued = len(self._queue)
        for trial, settings in asked:
            meaning = self._space.meaning(settings)
            if meaning not in self._seen:
                self._seen.add(meaning)
                self._repeats += 1
                self._resumed[trial] = settings
                self._queue.append(AskedTrial(trial, settings))
        return len(self._queue) > queued

    def learn(
        self,
        finished: list[tuple[str, TrialSettings, Values | None]],
        known: Mapping[str, OwnTrial] | None = None,
    ) -> None:
        """Tell the sampler of trials that are complete already: (id, settings, values; None: it has
        none). `known`: of some of them, by id, what else is known of them already."""
        known = known or {}
        for trial, settings, _ in finished:
            own = known.get(trial)
            self._seen.add(self._space.meaning(settings) if own is None else own.meaning)
        if self._space.sampler == "random":
            # A resumed study draws all of these again before it gets further.
            self._repeats += math.ceil(len(finished) / self._space.trials_each)
        self.warm_up(finished, known)

    def warm_up(
        self,
        others: list[tuple[str, TrialSettings, Values | None]],
        known: Mapping[str, OwnTrial] | None = None,
    ) -> None:
        """Tell the sampler of trials without taking them for this study's: they may still be asked
        for."""
        if self._sampler is None:
            return
        by_configuration: dict[str, tuple[str, TrialSettings, TrialValues]] = {}
        for trial, settings, value in others:
            key = settings.model_copy(update={"seed": 0, "fold": "official"}).model_dump_json()
            if value is not None:
                by_configuration.setdefault(key, (trial, settings, {}))[2][trial] = value
        told = []
        for trial, settings, values in by_configuration.values():
            own = None if known is None else known.get(trial)
            configuration = (
                self._space.configuration(settings) if own is None else own.configuration
            )
            if configuration is not None:
                told.append((configuration, values))
        self._sampler.add_known(told)

    def next(self, wanted: Callable[[TrialSettings], bool] | None = None) -> AskedTrial | None:
        """The next trial to train, never the same twice; None when the space has no more. With
        `wanted` the first of those already queued for which it holds; None when there is none."""
        if wanted is not None:
            return take(self._queue, wanted)
        if not self._queue:
            self._begin_first()
        if not self._queue:
            if self._sampler is None:
                self._walk(self._grid)
            else:
                self._ask(self._sampler)
        return self._queue.popleft() if self._queue else None

    def configuration(self, trial: str) -> Configuration | None:
        """Return the choices of the space that a trial handed out by `next` was made of; None for
        one of an earlier run, and the second time."""
        return self._configurations.pop(trial, None)

    def tell(self, trial: str, value: Values | None) -> None:
        """A trial's values, None when it failed or has none; passed on once its configuration waits
        for no more."""
        proposal = self._proposals.pop(trial, None)
        if proposal is None:
            if trial in self._resumed and value is not None:
                self._add(self._resumed[trial], {trial: value})
            return
        proposal.waiting.discard(trial)
        if value is not None:
            proposal.values[trial] = value
        if not proposal.waiting:
            self._tell(proposal)

    def retell(self, values: Mapping[str, Values]) -> None:
        """Tell of these trials anew: what they are worth has changed."""
        for proposal in self._proposals.values():
            proposal.values = {
                trial: values.get(trial, old) for trial, old in proposal.values.items()
            }
        if self._sampler is not None:
            self._sampler.retell(values)

    def _begin_first(self) -> None:
        """Queue the next of the space's `first` that has something new."""
        for configuration in self._first:
            self._enqueue(configuration, None, is_first=True)
            if self._queue:
                return

    def _walk(self, configurations: Iterator[Configuration]) -> None:
        """Queue the first of these configurations that has something new; with none left, the space
        is exhausted."""
        for configuration in configurations:
            self._enqueue(configuration, None)
            if self._queue:
                return
        self.exhausted = True

    def _ask(self, sampler: Sampler) -> None:
        """Queue what is new in the sampler's next configuration, or, where it repeats itself, in
        one of the others."""
        for _ in range(self._patience()):
            asked, proposed = sampler.ask()
            self._enqueue(proposed, asked)
            if self._queue:
                return
        self._repeats = AFTERWARDS
        if self._rest is None:
            self._rest = self._others()
        self._walk(self._rest)

    def _patience(self) -> int:
        """Return the number of repeats in a row that the sampler is allowed now."""
        size, trials = self._space.size(), self._space.number_of_trials()
        if not self._space.sampler_learns or size is None or trials is None or size > OTHERS:
            return self._repeats
        left = 1 - len(self._seen) / trials
        return max(FEWEST, round(self._repeats * left))

    def _enqueue(
        self, configuration: Configuration, asked: Asked | None, *, is_first: bool = False
    ) -> None:
        proposal = Proposal(asked, set(), first=configuration if is_first else None)
        try:
            trials = [
                (self._trial_id(settings), settings)
                for settings in self._space.trials(configuration)
            ]
        except InputError:
            # The values do not go together, such as a width that the attention heads don't divide.
            trials = []
        for trial, settings in trials:
            meaning = self._space.meaning(settings)
            if meaning not in self._seen:
                self._seen.add(meaning)
                proposal.waiting.add(trial)
                self._proposals[trial] = proposal
                self._configurations[trial] = configuration
                self._queue.append(AskedTrial(trial, settings))
        if not proposal.waiting:
            self._tell(proposal)

    def _tell(self, proposal: Proposal) -> None:
        if self._sampler is not None and proposal.asked is not None:
            self._sampler.tell(proposal.asked, proposal.values)
        if proposal.first is not None and proposal.values:
            self._add(proposal.first, proposal.values)

    def _others(self) -> Iterator[Configuration]:
        """Configurations that the sampler does not come to, in a repeatable order: all of a small
        space, shuffled; of a large one random ones while they bring something new, then all of it
        if it has an end."""
        size = self._space.size()
        if size is not None and size <= OTHERS:
            configurations = list(self._space.configurations())
            random.Random(self._space.sampler_seed).shuffle(configurations)  # noqa: S311
            yield from configurations
            return
        drawn = Sampler(self._space, "random", self._space.sampler_seed + 1, by_priors=False)
        in_vain = 0
        while in_vain < OTHERS:
            seen = len(self._seen)
            asked, configuration = drawn.ask()
            drawn.tell(asked, {})
            yield configuration
            # Whoever asked for it has now queued what is new in it.
            in_vain = 0 if len(self._seen) > seen else in_vain + 1
        if size is not None:
            yield from self._space.configurations()

    def _add(self, asked: Configuration | TrialSettings, values: TrialValues) -> bool:
        """Tell the sampler of trials it did not ask for; False when they lie outside the space."""
        return self._sampler is not None and self._sampler.add(asked, values)
