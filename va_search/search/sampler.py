"""Optuna behind one door: asked for configurations of a space, told the values of their trials, and
told anew.

Conventions: Optuna is told one value per configuration and measure, the mean of its trials', to be
maximised. It keeps for ever what it was told, so telling anew (objective `ensemble`: values age)
makes a new study of everything told and everything asked, with the sampler and its generator as
they are. That also keeps the cost of asking bounded, which grows with the trials that the study
has: of more than `LARGEST` TPE is left the `BEST`, more than it ever counts as good (at most 25),
and as many of the others, evenly over time, as make `KEPT`. GP, whose cost grows faster, is left
fewer.

A Gaussian process knows no settings that are now and then in play: Optuna's models those alone that
every configuration has. So it proposes a value for every setting, and those out of play have no
effect. Of configurations that it did not propose they have the first value."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from va_search.search.configurations import Configuration, Space
from va_search.search.domains import Parameters
from va_search.search.outcomes import Values
from va_search.search.priors import prior_share
from va_search.search.space_header import LEARNING
from va_search.trial_settings import TrialSettings

if TYPE_CHECKING:
    import optuna

BEST, KEPT, LARGEST = 50, 250, 500
GP_BEST, GP_KEPT, GP_LARGEST = 40, 100, 150

TrialValues = dict[str, Values]
"""Values by trial id: of one configuration's trials."""


@dataclass(eq=False)
class Asked:
    """A configuration that Optuna proposed; `number` is its number in the study as it is now."""

    number: int
    point: Parameters


class Sampler:
    """Random, TPE or GP proposals of a space; `study` is Optuna's."""

    def __init__(self, space: Space, name: str, seed: int, *, by_priors: bool = True) -> None:
        """Unless `by_priors`, what the user believes in is ignored."""
        self._space = space
        self._name, self._seed = name, seed
        self._learns = name in LEARNING
        self._is_gp = name == "gp"
        self._largest = GP_LARGEST if self._is_gp else LARGEST
        self._by_priors = by_priors and space.has_priors
        self._drawn = Random(f"priors {seed}")  # noqa: S311 (no secret)
        self._told: list[tuple[Parameters, TrialValues]] = []
        self._open: list[Asked] = []
        self._asked = self._size = self._renewed = 0
        self.study = self._new_study(_optuna_sampler(name, seed))

    def ask(self) -> tuple[Asked, Configuration]:
        """Return the next configuration; it may be one asked before, or invalid as a whole."""
        if self._size > self._largest:
            self._renew()
        self._size += 1
        believed = self._believed()
        if believed is not None:
            self.study.enqueue_trial(believed)
        trial = self.study.ask()
        configuration = self._space.suggest(trial)
        if self._is_gp:
            for name, setting in self._space.settings.items():
                if name not in configuration:
                    setting.domain.suggest(trial, name)
        self._asked += 1
        asked = Asked(trial.number, (trial.params, trial.distributions))
        self._open.append(asked)
        return asked, configuration

    def _believed(self) -> dict[str, Any] | None:
        """Return Optuna's parameters of a configuration drawn by the priors; None where it is the
        sampler's turn."""
        if not self._by_priors:
            return None
        known = len(self._told)
        if self._learns and self._drawn.random() >= prior_share(known):
            return None
        begins = self._asked == 0 and known == 0
        configuration = self._space.drawn_by_priors(self._drawn, certain=begins)
        point = self._space.optuna_parameters(configuration)
        return None if point is None else point[0]

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
        if point is not None:
            self._add_points([(point, values)])
        return point is not None

    def add_known(self, known: Sequence[tuple[Configuration, TrialValues]]) -> None:
        """Tell of many configurations that are known to be the space's, such as those of earlier
        runs."""
        if self._learns:
            parameters = self._space.known_parameters
            self._add_points([(parameters(each), values) for each, values in known])

    def _add_points(self, points: Sequence[tuple[Parameters, TrialValues]]) -> None:
        if self._is_gp:
            points = [(self._with_all_settings(point), values) for point, values in points]
        if not self._learns:
            return
        self._told += points
        self._size += len(points)
        # Of a larger study Optuna is told the best, and some others, before it is asked again.
        if self._size <= self._largest:
            self.study.add_trials([_complete_trial(point, values) for point, values in points])

    def _with_all_settings(self, point: Parameters) -> Parameters:
        """Return a point with the first value of each setting that is out of play."""
        parameters, distributions = dict(point[0]), dict(point[1])
        for name, setting in self._space.settings.items():
            own = setting.domain.parameters(name, next(setting.domain.values()))
            if not own[0].keys() <= parameters.keys():
                parameters |= own[0]
                distributions |= own[1]
        return parameters, distributions

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

        sizes = (GP_BEST, GP_KEPT) if self._is_gp else (BEST, KEPT)
        remembered = kept(self._told, *sizes)
        sampler = self.study.sampler
        if self._is_gp:
            # It remembers which settings the trials of its study had, and so serves one alone.
            self._renewed += 1
            sampler = _optuna_sampler(self._name, self._seed + 1_000_003 * self._renewed)
        self.study = self._new_study(sampler)
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


def kept(
    told: list[tuple[Parameters, TrialValues]], best: int = BEST, most: int = KEPT
) -> list[tuple[Parameters, TrialValues]]:
    """At most `most` configurations of those told, in their order: the `best`, and of the others
    evenly many over time."""
    if len(told) <= most:
        return told
    order = by_rank(np.array([mean(list(values.values())) for _, values in told]))
    worse = np.sort(order[best:])
    even = np.linspace(0, len(worse) - 1, most - best).round().astype(int)
    numbers = np.sort(np.concatenate([order[:best], worse[even]]))
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
        if name == "gp":
            return optuna.samplers.GPSampler(
                seed=seed % 2**32,
                independent_sampler=optuna.samplers.RandomSampler(seed=seed % 2**32),
                warn_independent_sampling=False,
            )
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True
        )
