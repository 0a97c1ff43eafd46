"""Optuna behind one door: asked for configurations of a space, told the values of their trials, and
told anew.

Conventions: Optuna is told one value per configuration and measure, the mean of its trials', to be
maximised. It keeps for ever what it was told, so telling anew (objective `ensemble`: values age)
makes a new study of everything told and everything asked, with the sampler and its generator as
they are. That also keeps the cost of asking bounded, which grows with the trials that the study
has: of more than `LARGEST` TPE is left the `BEST`, more than it ever counts as good (at most 25),
and as many of the others, evenly over time, as make `KEPT`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from va_search.search.configurations import Configuration, Space
from va_search.search.domains import Parameters
from va_search.search.outcomes import Values
from va_search.trial_settings import TrialSettings

if TYPE_CHECKING:
    import optuna

BEST, KEPT, LARGEST = 50, 250, 500

TrialValues = dict[str, Values]
"""Values by trial id: of one configuration's trials."""


@dataclass(eq=False)
class Asked:
    """A configuration that Optuna proposed; `number` is its number in the study as it is now."""

    number: int
    point: Parameters


class Sampler:
    """Random or TPE proposals of a space; `study` is Optuna's."""

    def __init__(self, space: Space, name: str, seed: int) -> None:
        self._space = space
        self._learns = name == "tpe"
        self._told: list[tuple[Parameters, TrialValues]] = []
        self._open: list[Asked] = []
        self._size = 0
        self.study = self._new_study(_optuna_sampler(name, seed))

    def ask(self) -> tuple[Asked, Configuration]:
        """Return the next configuration; it may be one asked before, or invalid as a whole."""
        if self._size > LARGEST:
            self._renew()
        self._size += 1
        trial = self.study.ask()
        configuration = self._space.suggest(trial)
        asked = Asked(trial.number, (trial.params, trial.distributions))
        self._open.append(asked)
        return asked, configuration

    def tell(self, asked: Asked, values: TrialValues) -> None:
        """Tell the values of a configuration's trials; none: they failed, or brought nothing
        new."""
        import optuna

        self._open.remove(asked)
        if not values:
            self.study.tell(asked.number, state=optuna.trial.TrialState.FAIL)
            return
        if self._learns:
            self._told.append((asked.point, values))
        self.study.tell(asked.number, mean(list(values.values())))

    def add(self, asked: Configuration | TrialSettings, values: TrialValues) -> bool:
        """Tell of a configuration that was not asked for here, or of a trial's settings; False when
        it lies outside the space."""
        # Only TPE learns: the others need not be told.
        point = self._space.optuna_parameters(asked)
        if point is not None and self._learns:
            self._told.append((point, values))
            self._size += 1
            self.study.add_trial(_complete_trial(point, values))
        return point is not None

    def retell(self, values: Mapping[str, Values]) -> None:
        """Replace the values of these trials, wherever they count."""
        if not self._learns:
            return
        retold = []
        for point, trials in self._told:
            retold.append((point, {trial: values.get(trial, old) for trial, old in trials.items()}))
        self._told = retold
        self._renew()

    def _renew(self) -> None:
        """Make a new study of everything told and asked, without what else Optuna kept."""
        import optuna

        remembered = kept(self._told)
        self.study = self._new_study(self.study.sampler)
        self.study.add_trials([_complete_trial(point, trials) for point, trials in remembered])
        self._size = len(remembered) + len(self._open)
        # Configurations that still train count as running, under new numbers.
        for number, asked in enumerate(self._open, start=len(remembered)):
            parameters, distributions = asked.point
            running = optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=parameters,
                distributions=distributions,
            )
            self.study.add_trial(running)
            asked.number = number

    def _new_study(self, sampler: optuna.samplers.BaseSampler) -> optuna.study.Study:
        import optuna

        directions = ["maximize"] * len(self._space.measures)
        return optuna.create_study(
            directions=directions, sampler=sampler, study_name=self._space.name
        )


def kept(told: list[tuple[Parameters, TrialValues]]) -> list[tuple[Parameters, TrialValues]]:
    """At most `KEPT` configurations of those told, in their order: the best, and of the others
    evenly many over time."""
    if len(told) <= KEPT:
        return told
    order = by_rank(np.array([mean(list(values.values())) for _, values in told]))
    worse = np.sort(order[BEST:])
    even = np.linspace(0, len(worse) - 1, KEPT - BEST).round().astype(int)
    numbers = np.sort(np.concatenate([order[:BEST], worse[even]]))
    return [told[number] for number in numbers]


def by_rank(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Numbers of the rows of `values` (configurations, measures), the best first; with several
    measures by how many others dominate a row."""
    if values.shape[1] == 1:
        return np.argsort(-values[:, 0], kind="stable")
    # dominated[i]: how many rows are at least as good in all measures and better in one.
    at_least = (values[:, None] >= values).all(axis=2)
    dominated = (at_least & (values[:, None] > values).any(axis=2)).sum(axis=0)
    return np.argsort(dominated, kind="stable")


def mean(values: Sequence[Values]) -> Values:
    """Mean over trials, measure by measure."""
    return tuple(sum(column) / len(values) for column in zip(*values, strict=True))


def _complete_trial(point: Parameters, values: TrialValues) -> optuna.trial.FrozenTrial:
    import optuna

    parameters, distributions = point
    return optuna.trial.create_trial(
        params=parameters, distributions=distributions, values=mean(list(values.values()))
    )


def _optuna_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True
        )
