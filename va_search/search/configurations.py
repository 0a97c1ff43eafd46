"""A search space: its configurations, how they are enumerated, proposed and recognised.

Conventions: a configuration maps the names of the settings in play to plain values; settings out of
play take the defaults of `TrialSettings`. Two configurations that would compute the same are one:
unused settings count as their defaults, a fusion of modalities of which there is one is early
fusion, and what else means the same on this store (sameness.py) counts once: the first in grid
order, or whichever was trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice, product
from random import Random
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from va_search.data.store import MIX, OFFICIAL
from va_search.document.words import reasons
from va_search.errors import InputError
from va_search.models.menu import FAMILIES
from va_search.search.declarations import Setting
from va_search.search.domains import Parameters, same
from va_search.search.outcomes import measures
from va_search.search.sameness import NAMES, Sameness
from va_search.search.space_header import LEARNING, Budget, EarlyStopping, differences
from va_search.targets import AFFECT
from va_search.trial import FoldKind, known_settings
from va_search.trial_settings import WEIGHTS, TrialSettings, unused

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

GUESSED = 16
"""So many values are tried of a setting without effect in a trial that decides of others."""

OWN_STATISTICS = ("recording", "subject")
"""Normalisations that mean the same where each recording has a subject of its own; a home may have
the trial under either."""

ALTERNATIVES = 64
"""So many settings that mean the same are looked for in a home at most."""

COUNTED = 100_000
"""Spaces of up to so many combinations are counted exactly."""

Configuration = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """A search space that was read and checked; make one with `load_space`.

    `document` is the file's; the fields after it are those of its header, in which `folds` are as
    trained: `all` stands for the store's folds, "official" for the number of the official split.
    `settings` come in an order in which every condition looks back; `sameness` is what of the
    store decides which mean the same; `targets` are the names of the store's targets; `first` are
    trained before the sampler proposes any.
    """

    name: str
    document: dict[str, Any]
    sampler: str
    sampler_seed: int
    objective: str
    budget: Budget
    seeds: list[int]
    folds: list[int | str]
    early_stopping: EarlyStopping | None
    settings: dict[str, Setting]
    sameness: Sameness
    targets: tuple[str, ...]
    first: tuple[Configuration, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """The numbers of a trial that the objective stands for, each to be maximised."""
        return measures(self.objective, self.targets)

    @property
    def sampler_learns(self) -> bool:
        """True where what is proposed depends on the values of finished trials."""
        return self.sampler in LEARNING

    @property
    def trials_each(self) -> int:
        """How many trials a configuration has."""
        return len(self.seeds) * len(self.folds)

    @property
    def named_settings(self) -> tuple[str, ...]:
        """Names of the settings that the space says something of."""
        return tuple(self.settings)

    @property
    def budget_trials(self) -> int | None:
        """The budget of trials, rounded up to whole configurations: none is left with folds or
        seeds missing."""
        trials = self.budget.trials
        return None if trials is None else -(-trials // self.trials_each) * self.trials_each

    def size(self) -> int | None:
        """Number of different, valid configurations; None when a range of numbers makes them
        infinitely many.

        Counted one by one where at most `COUNTED` combinations are declared. Above that it is the
        product of the settings' counts: an upper bound, since conditions and equal configurations
        are not taken off."""
        return self._size

    def number_of_trials(self) -> int | None:
        """Number of different trials of all configurations: seeds of a model that draws nothing are
        one. None for infinitely many; an upper bound where `size` is one."""
        size = self.size()
        return None if size is None else size * self.trials_each - self._repeated_seeds

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
        for configuration in self.combinations():
            key = self._key(configuration, self._kinds)
            if key is not None and key not in seen:
                seen.add(key)
                yield configuration

    def in_play(self, name: str, chosen: Mapping[str, Any]) -> bool:
        """Return True if setting `name` exists beside the settings chosen before it."""
        for condition, values in self.settings[name].when.items():
            if condition not in chosen:
                return False
            if not any(same(chosen[condition], value) for value in values):
                return False
        return True

    def combinations(
        self, names: list[str] | None = None, chosen: Configuration | None = None
    ) -> Iterator[Configuration]:
        """All values of these settings, or of all (of a range of numbers its two ends), put
        together, conditions respected.

        `names` stand in the order of `settings`; what comes out may be invalid or equal to another.
        """
        names = list(self.settings) if names is None else names
        chosen = chosen or {}
        if not names:
            yield chosen
        elif not self.in_play(names[0], chosen):
            yield from self.combinations(names[1:], chosen)
        else:
            for value in self.settings[names[0]].values():
                yield from self.combinations(names[1:], {**chosen, names[0]: value})

    def declared(self, name: str) -> list[Any]:
        """The values a setting may take, its default where the space does not name it; the first of
        very many."""
        return self._values(name) or [TrialSettings.model_fields[name].default]

    def drawn(self, generator: Random) -> Configuration:
        """A configuration drawn at random, setting by setting; it may be invalid, or equal to
        another."""
        return self._chosen(lambda name: self.settings[name].domain.draw(generator))

    @property
    def has_priors(self) -> bool:
        """True where the user believes in a value of some setting."""
        return any(setting.prior is not None for setting in self.settings.values())

    def drawn_by_priors(self, generator: Random, *, certain: bool = False) -> Configuration:
        """A configuration drawn by the priors, setting by setting; it may be invalid, or equal to
        another. `certain`: where there is a prior, exactly its value."""

        def choose(name: str) -> Any:
            setting = self.settings[name]
            if certain and setting.prior is not None:
                return setting.prior.value
            return setting.draw_by_prior(generator)

        return self._chosen(choose)

    def examples(self, number: int, tries: int) -> Iterator[tuple[Configuration, TrialSettings]]:
        """So many valid configurations drawn at random, fewer where they are rare among so many
        `tries`, but one at least; each with its first trial. They are the same at each call."""
        generator = Random(0)  # noqa: S311 (no secret)
        lacking = number
        for _ in range(tries):
            if lacking == 0:
                return
            configuration = self.drawn(generator)
            with suppress(InputError):  # these values do not go together
                yield configuration, self.trials(configuration)[0]
                lacking -= 1
        if lacking == number:
            configuration = next(self.configurations())
            yield configuration, self.trials(configuration)[0]

    def completed(self, values: Mapping[str, Any], generator: Random) -> Configuration:
        """A configuration with these values, those of other settings in play drawn at random."""

        def choose(name: str) -> Any:
            return values[name] if name in values else self.settings[name].domain.draw(generator)

        return self._chosen(choose)

    def suggest(self, trial: Trial) -> Configuration:
        """A configuration proposed by Optuna, setting by setting, conditions respected.

        Its settings may be invalid together (`trials` tells); each of them alone is valid.
        """
        return self._chosen(lambda name: self.settings[name].domain.suggest(trial, name))

    def optuna_parameters(
        self, configuration: Mapping[str, Any] | TrialSettings
    ) -> Parameters | None:
        """The Optuna parameters, and their distributions, that stand for a configuration, or for
        that of a trial with these settings; None outside the space."""
        if isinstance(configuration, TrialSettings):
            read_back = self.configuration(configuration)
            return None if read_back is None else self.known_parameters(read_back)
        if not self._is_configuration(configuration):
            return None
        return self.known_parameters(configuration)

    def known_parameters(self, configuration: Mapping[str, Any]) -> Parameters:
        """As `optuna_parameters`, of a configuration that is known to be one of the space's."""
        parameters: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for name, setting in self.settings.items():
            if name in configuration:
                own = setting.domain.parameters(name, configuration[name])
                parameters |= own[0]
                distributions |= own[1]
        return parameters, distributions

    def trials(self, configuration: Mapping[str, Any]) -> list[TrialSettings]:
        """One trial for each fold and seed. InputError when the configuration's settings are
        invalid together."""
        of_kind = {}
        for fold in self._kinds:
            of_kind[FoldKind(fold).has_validation] = self._settings(configuration, fold)
        trials = []
        for fold in self.folds:
            settings = of_kind[FoldKind(fold).has_validation]
            for seed in self.seeds:
                trials.append(settings.model_copy(update={"fold": fold, "seed": seed}))
        return trials

    def contains(self, settings: TrialSettings, noted: Mapping[str, Any] | None = None) -> bool:
        """Return True if a trial with these settings is one of this space's, its seed and fold
        included; `noted` as for `configuration`."""
        return self.own_configuration(settings, noted) is not None

    def own_configuration(
        self, settings: TrialSettings, noted: Mapping[str, Any] | None = None
    ) -> Configuration | None:
        """As `configuration`; None as well for a seed or a fold that the space does not have."""
        of_fold = any(same(settings.fold, fold) for fold in self.folds)
        if settings.seed not in self.seeds or not of_fold:
            return None
        return self.configuration(settings, noted)

    def configuration(
        self, settings: TrialSettings, noted: Mapping[str, Any] | None = None
    ) -> Configuration | None:
        """Return a configuration whose trials have these settings, or such that mean the same, seed
        and fold aside; None when there is none.

        `noted` is the one that the trial was asked for with, where that is known. It is returned
        unless it is no longer one of the space's."""
        # Nearly always a configuration gives just these settings, and no meanings are compared.
        expected = settings.model_copy(update={"seed": 0})
        possible = self._read_back(settings)
        for configuration in possible if noted is None else chain([noted], possible):
            if not self._is_configuration(configuration):
                continue
            try:
                actual = self._settings(configuration, settings.fold)
            except InputError:  # these values do not go together
                continue
            if actual == expected or self._meant(actual) == self._meant(settings):
                return dict(configuration)
        return None

    def meaning(self, settings: TrialSettings) -> str:
        """A text that is equal for trials that would compute the same, seed and fold included."""
        weights = {}
        for target in self.targets:
            if target not in AFFECT:
                weights[f"{WEIGHTS}.{target}"] = settings.loss_weight(target)
        text = self.sameness.meaning(settings).model_dump_json(exclude=set(weights)) + str(weights)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def alternatives(self, settings: TrialSettings) -> list[TrialSettings]:
        """Other settings of this space under which the same would be trained; a few of very
        many."""
        choices: dict[str, list[Any]] = {}
        for name in NAMES:
            values = self._values(name)
            if name == "normalise" and settings.normalise in OWN_STATISTICS:
                values = [*OWN_STATISTICS]
            alike = self.sameness.alternatives(settings, name, values)
            if alike:
                choices[name] = [getattr(settings, name), *alike]
        if not choices:
            return []

        # Each alone means the same; together they may not.
        meant = self.meaning(settings)
        document = settings.model_dump()
        alternatives: list[TrialSettings] = []
        for values_together in islice(product(*choices.values()), ALTERNATIVES):
            changes = dict(zip(choices, values_together, strict=True))
            changed = known_settings(document | changes)
            if changed is None or changed in (settings, *alternatives):
                continue
            if self.meaning(changed) == meant:
                alternatives.append(changed)
        return alternatives

    def changes(self, old_document: Mapping[str, Any]) -> list[str]:
        """What differs between an older document of the space and this one, one line each, in plain
        words."""
        return differences(old_document, self.document)

    # -- inside

    @cached_property
    def _combinations(self) -> int | None:
        counts = [setting.domain.count() for setting in self.settings.values()]
        return None if None in counts else math.prod(count or 1 for count in counts)

    @cached_property
    def _size(self) -> int | None:
        if self._combinations is None or self._combinations > COUNTED:
            return self._combinations
        return sum(1 for _ in self.configurations())

    @cached_property
    def _repeated_seeds(self) -> int:
        """Number of trials that compute the same as another seed; 0 where `size` is no exact
        number."""
        families = [FAMILIES[family] for family in self.declared("family")]
        if len(self.seeds) == 1 or not any(family.drawless for family in families):
            return 0
        if not self.size_is_exact:
            return 0
        drawless = 0
        for configuration in self.configurations():
            settings = self._settings(configuration, self._kinds[0])
            drawless += self.sameness.draws_nothing(settings)
        return drawless * (len(self.seeds) - 1) * len(self.folds)

    @cached_property
    def _conditions(self) -> list[str]:
        """Settings that decide whether others are in play."""
        deciding: set[str] = set()
        for setting in self.settings.values():
            deciding.update(setting.when)
        return sorted(deciding)

    @cached_property
    def _kinds(self) -> list[int | str]:
        """One fold of each kind that the space has, those without validation first: settings may be
        valid, or have an effect, for one of them only."""
        kinds: dict[bool, int | str] = {}
        for fold in self.folds:
            kinds.setdefault(FoldKind(fold).has_validation, fold)
        return [kinds[kind] for kind in sorted(kinds)]

    def _chosen(self, choose: Callable[[str], Any]) -> Configuration:
        """The configuration of the values that `choose` gives for each setting in play."""
        chosen: Configuration = {}
        for name in self.settings:
            if self.in_play(name, chosen):
                chosen[name] = choose(name)
        return chosen

    def _is_configuration(self, configuration: Mapping[str, Any]) -> bool:
        """Return True if exactly the settings in play have values, and such as they may have."""
        if self._chosen(configuration.get).keys() != configuration.keys():
            return False
        inside = [
            self.settings[name].domain.contains(value) for name, value in configuration.items()
        ]
        return all(inside)

    def _read_back(self, settings: TrialSettings) -> Iterator[Configuration]:
        """Configurations that a trial's settings may come from: they show the values that were
        chosen, but for those without effect. Where such a one decides whether others are in play,
        each of its values is tried."""
        document = settings.model_dump(mode="json")
        for name in self.settings:
            if name.startswith(f"{WEIGHTS}."):
                document.setdefault(name, 1.0)
        no_effect = {*unused(document), *(self.settings.keys() - document)}
        deciding = [name for name in self._conditions if name in no_effect]
        for values in product(*(self._values(name, GUESSED) for name in deciding)):
            guessed = document | dict(zip(deciding, values, strict=True))
            yield self._chosen(partial(self._read_value, settings, guessed, no_effect))

    def _read_value(
        self, settings: TrialSettings, document: Mapping[str, Any], no_effect: Set[str], name: str
    ) -> Any:
        """The value of a setting that stands for the one that a trial has; that one itself where
        the setting never has such a value."""
        domain, value = self.settings[name].domain, document.get(name)
        if domain.contains(value):
            return value
        if name == "stride" and value is None and domain.contains(settings.segment_length):
            return settings.segment_length
        stand_ins = []
        if name in no_effect:
            stand_ins = self._values(name, 1)
        elif name in NAMES:
            stand_ins = self.sameness.alternatives(settings, name, self._values(name))
        return stand_ins[0] if stand_ins else value

    def _values(self, name: str, most: int = 64) -> list[Any]:
        """Some values that a setting may take: all but for a long range of numbers."""
        setting = self.settings.get(name)
        return [] if setting is None else list(islice(setting.domain.values(), most))

    def _settings(self, configuration: Mapping[str, Any], fold: int | str) -> TrialSettings:
        """Settings of the configuration's trial on a fold, with seed 0. InputError where they are
        invalid together."""
        try:
            settings = TrialSettings(**{**configuration, "fold": fold, "seed": 0})
        except ValidationError as error:
            raise InputError(*reasons(error, TrialSettings)) from None
        if not any(settings.loss_weight(target) for target in self.targets):
            targets = ", ".join(self.targets)
            raise InputError(
                f"all targets ({targets}) have weight 0 in the loss: there would be nothing to learn"
            )
        return self.sameness.without_branches(settings)

    def _meant(self, settings: TrialSettings) -> str:
        """Equal for settings that compute the same with one seed, on one kind of fold."""
        kind = MIX if not FoldKind(settings.fold).has_validation else OFFICIAL
        return self.meaning(settings.model_copy(update={"seed": 0, "fold": kind}))

    def _key(self, configuration: Mapping[str, Any], folds: Sequence[int | str]) -> str | None:
        """Equal for configurations that compute the same on these folds; None for an invalid
        one."""
        try:
            return "".join(self._meant(self._settings(configuration, fold)) for fold in folds)
        except InputError:
            return None
