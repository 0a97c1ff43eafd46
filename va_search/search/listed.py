"""A space whose trials are listed one by one, instead of settings that may vary:

    trials:
    - {features: [face, voice], encoder: lstm, hidden_size: 64, seed: 1}
    - {features: [voice], encoder: tcn}

Conventions: each entry of `trials` has the settings of one trial per fold, with its `seed` (0 unless
it says so); settings that it does not name take the defaults of `TrialSettings`. They are trained
in the order of the list. Two entries with one trial id are one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from va_search.data.store import Store
from va_search.document import YamlFile
from va_search.document.words import expected_found, reasons
from va_search.errors import unknown_name
from va_search.files import digest
from va_search.search.configurations import Configuration, Space
from va_search.search.domains import same
from va_search.trial_settings import TrialSettings, document

TRIALS = "trials"
"""The key of a space's document that lists trials."""


@dataclass(frozen=True)
class ListedSpace(Space):
    """A space of the trials that are `listed`, each with its seed; it is walked as a grid."""

    listed: tuple[Configuration, ...] = ()

    def configurations(self) -> Iterator[Configuration]:
        """Every different configuration of the list, in its order."""
        seen: set[str] = set()
        for configuration in self.listed:
            key = self._key_with_seed(configuration)
            if key not in seen:
                seen.add(key)
                yield configuration

    def size(self) -> int | None:
        """Number of different trials of the list, on one fold."""
        return sum(1 for _ in self.configurations())

    @property
    def named_settings(self) -> tuple[str, ...]:
        """Names of the settings that some listed trial has, without its seed."""
        names = dict.fromkeys(name for configuration in self.listed for name in configuration)
        return tuple(name for name in names if name != "seed")

    @property
    def size_is_exact(self) -> bool:
        return True

    def combinations(
        self, names: list[str] | None = None, chosen: Configuration | None = None
    ) -> Iterator[Configuration]:
        """See `configurations`."""
        return self.configurations()

    def declared(self, name: str) -> list[Any]:
        """Values of a setting among the trials, its default where none of them names it."""
        values: list[Any] = []
        for configuration in self.listed:
            value = configuration.get(name, TrialSettings.model_fields[name].default)
            if value not in values:
                values.append(value)
        return values

    def drawn(self, generator: Random) -> Configuration:
        """Return a trial of the list, drawn at random."""
        return generator.choice(self.listed)

    def trials(self, configuration: Mapping[str, Any]) -> list[TrialSettings]:
        """Return the listed trial on each fold. InputError when its settings are invalid there."""
        seed = configuration.get("seed", 0)
        of_folds = super().trials(_without_seed(configuration))
        return [settings.model_copy(update={"seed": seed}) for settings in of_folds]

    def meaning(self, settings: TrialSettings) -> str:
        """A text that is equal for trials of one id: a listed trial is trained as it is written,
        also where another one would compute the same on this store."""
        return digest(document(settings))

    def alternatives(self, settings: TrialSettings) -> list[TrialSettings]:
        """None: whoever lists a trial looks for that one."""
        return []

    def contains(self, settings: TrialSettings, noted: Mapping[str, Any] | None = None) -> bool:
        """Return True if a trial with these settings is listed, on one of the folds."""
        if not any(same(settings.fold, fold) for fold in self.folds):
            return False
        return self.configuration(settings, noted) is not None

    def configuration(
        self, settings: TrialSettings, noted: Mapping[str, Any] | None = None
    ) -> Configuration | None:
        """Return the listed trial that computes the same as one with these settings, fold aside;
        None where there is none."""
        meant = self._meant(settings)
        for configuration in self.listed:
            if configuration.get("seed", 0) != settings.seed:
                continue
            if self._key(_without_seed(configuration), [settings.fold]) == meant:
                return configuration
        return None

    def _key_with_seed(self, configuration: Configuration) -> str:
        """Equal for entries that compute the same."""
        key = self._key(_without_seed(configuration), self._kinds)
        return f"{key} {configuration.get('seed', 0)}"


def _without_seed(configuration: Mapping[str, Any]) -> Configuration:
    return {name: value for name, value in configuration.items() if name != "seed"}


def space_of(trials: Iterable[TrialSettings]) -> dict[str, Any]:
    """Return the document of a space that has these trials of one fold and no others."""
    listed: list[Configuration] = []
    folds: list[int | str] = []
    for settings in trials:
        entry = settings.model_dump(mode="json", exclude_defaults=True)
        entry.pop("fold", None)
        if entry not in listed:
            listed.append(entry)
        if settings.fold not in folds:
            folds.append(settings.fold)
    if len(folds) != 1:
        raise ValueError(f"trials of one fold are expected, but got {folds}")
    return {"sampler": "grid", "folds": folds, TRIALS: listed}


def read_listed(
    entries: Sequence[Any], file: YamlFile, store: Store, folds: Sequence[int | str]
) -> list[Configuration]:
    """Read the trials that a space lists, a user's own classes in them as trials name them; problems
    are noted in its file."""
    listed: list[Configuration] = []
    for index, entry in enumerate(entries):
        location = (TRIALS, index)
        if not isinstance(entry, dict):
            file.problem(location, expected_found("settings of a trial", entry))
            continue
        if "fold" in entry:
            file.problem((*location, "fold"), "the folds of all trials are said by `folds`")
            continue
        unnamed = [name for name in entry if not isinstance(name, str)]
        if unnamed:
            file.problem(location, expected_found("the name of a setting", unnamed[0]))
            continue
        problems = _problems_of(entry, store, folds)
        for problem in problems:
            file.problem(location, problem)
        if not problems:
            # a seed is an integer, however it is written
            seed = TrialSettings(**{**entry, "fold": folds[0]}).seed
            listed.append({**entry, "seed": seed} if "seed" in entry else entry)
    return listed


def _problems_of(entry: Mapping[str, Any], store: Store, folds: Sequence[int | str]) -> list[str]:
    """Reasons why an entry is no trial of this store."""
    for fold in folds:
        try:
            settings = TrialSettings(**{**entry, "fold": fold})
        except ValidationError as error:
            return reasons(error, TrialSettings)
        unknown = [name for name in settings.features if name not in store.feature_sets]
        if unknown:
            return [unknown_name("feature set", name, store.feature_sets) for name in unknown]
    return []
