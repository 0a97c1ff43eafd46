"""A search space: its configurations, how they are enumerated, proposed and recognised.

Conventions: a configuration maps the names of the settings in play to plain values; settings out of
play take the defaults of `TrialSettings`. Two configurations that would compute the same are one:
unused settings count as their defaults, late fusion of feature sets of one modality is early
fusion, and what else means the same on this store (sameness.py) counts once: the first in grid
order, or whichever was trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from va_search.data.store import MIX, OFFICIAL
from va_search.document.words import reasons
from va_search.errors import InputError
from va_search.search.domains import Parameters, same
from va_search.search.sameness import NAMES, Sameness
from va_search.search.space_document import Budget, EarlyStopping, Setting, SpaceHeader
from va_search.trial_settings import TrialSettings, unused

if TYPE_CHECKING:
    from optuna.trial import Trial

ALTERNATIVES = 64
"""So many settings that mean the same are looked for in a home at most."""

COUNTED = 100_000
"""Spaces of up to so many combinations are counted exactly."""

Configuration = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """A search space that was read and checked; make one with `load_space`.

    `settings` come in an order in which every condition looks back; `sameness` is what of the
    store decides which mean the same.
    """

    name: str
    document: dict[str, Any]
    header: SpaceHeader
    settings: dict[str, Setting]
    sameness: Sameness

    @property
    def sampler(self) -> str:
        return self.header.sampler

    @property
    def sampler_seed(self) -> int:
        return self.header.sampler_seed

    @property
    def objective(self) -> str:
        return self.header.objective

    @property
    def seeds(self) -> list[int]:
        return self.header.seeds

    @property
    def folds(self) -> list[int | str]:
        """As trained: `all` stands for the store's folds, and "official" for the number of the
        official split."""
        return self.header.folds

    @property
    def trials_each(self) -> int:
        """How many trials a configuration has."""
        return len(self.seeds) * len(self.folds)

    @property
    def budget_trials(self) -> int | None:
        """The budget of trials, rounded up to whole configurations: none is left with folds or
        seeds missing."""
        trials = self.budget.trials
        return None if trials is None else -(-trials // self.trials_each) * self.trials_each

    @property
    def budget(self) -> Budget:
        return self.header.budget

    @property
    def early_stopping(self) -> EarlyStopping | None:
        return self.header.early_stopping

    def size(self) -> int | None:
        """Number of different, valid configurations; None when a range of numbers makes them
        infinitely many.

        Counted one by one where at most `COUNTED` combinations are declared. Above that it is the
        product of the settings' counts: an upper bound, since conditions and equal configurations
        are not taken off."""
        return self._size

    @property
    def size_is_exact(self) -> bool:
        """False when `size` is an upper bound."""
        return self._combinations is None or self._combinations <= COUNTED

    def configurations(self) -> Iterator[Configuration]:
        """Every different, valid configuration in grid order: the setting declared last varies
        fastest.

        ValueError for an infinite space.
        """
        if self._combinations is None:
            raise ValueError(f"space {self.name!r} has infinitely many configurations")
        seen: set[str] = set()
        for configuration in self.combinations(list(self.settings)):
            key = self._key(configuration, self._kinds)
            if key is not None and key not in seen:
                seen.add(key)
                yield configuration

    def in_play(self, name: str, chosen: Mapping[str, Any]) -> bool:
        """Whether setting `name` exists beside the settings chosen before it."""
        return all(
            other in chosen and any(same(chosen[other], value) for value in values)
            for other, values in self.settings[name].when.items()
        )

    def combinations(
        self, names: list[str], chosen: Configuration | None = None
    ) -> Iterator[Configuration]:
        """All values of these settings (of a range of numbers its two ends) put together,
        conditions respected.

        `names` stand in the order of `settings`; what comes out may be invalid or equal to another.
        """
        chosen = chosen or {}
        if not names:
            yield chosen
        elif not self.in_play(names[0], chosen):
            yield from self.combinations(names[1:], chosen)
        else:
            for value in self.settings[names[0]].domain.values():
                yield from self.combinations(names[1:], {**chosen, names[0]: value})

    def declared(self, name: str) -> list[Any]:
        """The values a setting may take, its default where the space does not name it; the first of
        very many."""
        return self._values(name) or [TrialSettings.model_fields[name].default]

    def drawn(self, generator: Random) -> Configuration:
        """A configuration drawn at random, setting by setting; it may be invalid, or equal to
        another."""
        chosen: Configuration = {}
        for name, setting in self.settings.items():
            if self.in_play(name, chosen):
                chosen[name] = setting.domain.draw(generator)
        return chosen

    def suggest(self, trial: Trial) -> Configuration:
        """A configuration proposed by Optuna, setting by setting, conditions respected.

        Its settings may be invalid together (`trials` tells); each of them alone is valid.
        """
        chosen: Configuration = {}
        for name, setting in self.settings.items():
            if self.in_play(name, chosen):
                chosen[name] = setting.domain.suggest(trial, name)
        return chosen

    def optuna_parameters(self, configuration: Mapping[str, Any]) -> Parameters | None:
        """The Optuna parameters, and their distributions, that stand for a configuration; None
        outside the space.

        The whole settings of a trial (with its seed and fold) may be given too.
        """
        if "seed" in configuration:
            found = self.configuration(TrialSettings(**configuration))
            return None if found is None else self.optuna_parameters(found)
        chosen: Configuration = {}
        parameters: dict[str, Any] = {}
        distributions: dict[str, Any] = {}
        for name, setting in self.settings.items():
            if not self.in_play(name, chosen):
                continue
            if name not in configuration or not setting.domain.contains(configuration[name]):
                return None
            chosen[name] = configuration[name]
            its_parameters, its_distributions = setting.domain.parameters(name, configuration[name])
            parameters |= its_parameters
            distributions |= its_distributions
        return (parameters, distributions) if chosen.keys() == configuration.keys() else None

    def trials(self, configuration: Mapping[str, Any]) -> list[TrialSettings]:
        """One trial for each fold and seed. InputError when the configuration's settings are
        invalid together."""
        pairs = [(fold, seed) for fold in self.folds for seed in self.seeds]
        try:
            return [self._settings(configuration, fold=fold, seed=seed) for fold, seed in pairs]
        except ValidationError as error:
            raise InputError(*reasons(error, TrialSettings)) from None

    def contains(self, settings: TrialSettings) -> bool:
        """Whether a trial with these settings is one of this space's, its seed and fold
        included."""
        ours = settings.seed in self.seeds and any(same(settings.fold, fold) for fold in self.folds)
        return ours and self.configuration(settings) is not None

    def configuration(self, settings: TrialSettings) -> Configuration | None:
        """A configuration whose trials have these settings, or such that mean the same, seed and
        fold aside; None when there is none."""
        target = settings.model_dump(mode="json")
        kind = [MIX if settings.fold == MIX else OFFICIAL]
        wanted = self._key(target, kind)
        for found in self._matching(list(self.settings), {}, target, set(unused(target))):
            if self._key(found, kind) == wanted:
                return found
        return None

    def meaning(self, settings: TrialSettings) -> str:
        """A text that is equal for trials that would compute the same, seed and fold included."""
        return _digest(self.sameness.meaning(settings).model_dump_json())

    def alternatives(self, settings: TrialSettings) -> list[TrialSettings]:
        """Other settings of this space under which the same would be trained; a few of very
        many."""
        meant = self.meaning(settings)
        choices: dict[str, list[Any]] = {}
        for name in NAMES:
            values = self._values(name) if name != "normalise" else ["recording", "subject"]
            same_values = list(self.sameness.alternatives(settings, name, values))
            others = [value for value in same_values if value != getattr(settings, name)]
            if others:
                choices[name] = [getattr(settings, name), *others]
        found = []
        for values_together in islice(product(*choices.values()), ALTERNATIVES):
            try:
                other = TrialSettings(
                    **settings.model_dump() | dict(zip(choices, values_together, strict=True))
                )
            except ValidationError:
                continue
            if other != settings and other not in found and self.meaning(other) == meant:
                found.append(other)
        return found

    def changes(self, old_document: Mapping[str, Any]) -> list[str]:
        """What differs between an older document of the space and this one, one line each, in plain
        words."""
        old, new = _flat(old_document), _flat(self.document)
        lines = []
        for name in dict.fromkeys([*new, *old]):
            if name not in old:
                lines.append(f"{name} is new: {_short(new[name])}")
            elif name not in new:
                lines.append(f"{name} is gone; it was {_short(old[name])}")
            elif old[name] != new[name]:
                lines.append(f"{name} was {_short(old[name])}, now is {_short(new[name])}")
        return lines

    # -- inside
    # ------------------------------------------------------------------------------------------------------

    @cached_property
    def _combinations(self) -> int | None:
        counts = [setting.domain.count() for setting in self.settings.values()]
        return None if None in counts else math.prod(count or 1 for count in counts)

    @cached_property
    def _size(self) -> int | None:
        if self._combinations is None or self._combinations > COUNTED:
            return self._combinations
        return sum(1 for _ in self.configurations())

    def _matching(
        self,
        names: list[str],
        chosen: Configuration,
        target: Mapping[str, Any],
        unused_names: set[str],
    ) -> Iterator[Configuration]:
        """Combinations that could stand for `target`: where a setting has no effect in it, any
        value may have stood."""
        if not names:
            yield chosen
            return
        name = names[0]
        if not self.in_play(name, chosen):
            yield from self._matching(names[1:], chosen, target, unused_names)
            return
        for value in self._candidates(name, target, unused_names):
            yield from self._matching(names[1:], {**chosen, name: value}, target, unused_names)

    def _candidates(
        self, name: str, target: Mapping[str, Any], unused_names: set[str]
    ) -> list[Any]:
        if name not in target:  # an option of a class that this trial does not have
            return []
        domain = self.settings[name].domain
        values = [target[name]] if domain.contains(target[name]) else []
        if name == "stride" and target[name] is None and domain.contains(target["segment_length"]):
            values.append(target["segment_length"])
        if name in NAMES and not values:
            settings = TrialSettings(**target)
            values += self.sameness.alternatives(settings, name, self._values(name))
        if name in unused_names:
            decides = any(name in setting.when for setting in self.settings.values())
            values += [
                value
                for value in islice(domain.values(), 16 if decides else 1)
                if value not in values
            ]
            values = values if decides else values[:1]
        return values

    def _values(self, name: str) -> list[Any]:
        """Some values that a setting may take: all but for a long range of numbers."""
        setting = self.settings.get(name)
        return [] if setting is None else list(islice(setting.domain.values(), 64))

    def _settings(self, configuration: Mapping[str, Any], **rest: Any) -> TrialSettings:
        settings = TrialSettings(**{**configuration, **rest})
        if settings.fusion == "late" and self.sameness.one_modality(settings.features):
            settings = settings.model_copy(update={"fusion": "early"})
        return settings

    @cached_property
    def _kinds(self) -> list[str]:
        """One fold of each kind that the space has: settings may be valid, or have an effect, for
        one of them only."""
        return [MIX] * (MIX in self.folds) + [OFFICIAL] * any(fold != MIX for fold in self.folds)

    def _key(self, configuration: Mapping[str, Any], kinds: list[str]) -> str | None:
        """Equal for configurations that compute the same on these kinds of folds; None for an
        invalid one."""
        try:
            settings = [
                self._settings({**configuration, "seed": 0, "fold": kind}) for kind in kinds
            ]
        except ValidationError:
            return None
        return _digest("".join(self.sameness.meaning(each).model_dump_json() for each in settings))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    settings = document.get("settings")
    flat = {key: value for key, value in document.items() if key != "settings"}
    return flat | {f"settings.{key}": value for key, value in (settings or {}).items()}


def _short(value: Any) -> str:
    import yaml

    return str(
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()
    )
