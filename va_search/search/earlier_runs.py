"""Trials that earlier runs of a study left, as its space sees them now.

Conventions: a trial is the study's own if it lies in the space, and its id is the one that its
settings have on this data with this package's training: a model from elsewhere, or a trial of
another version, is none. Two trials mean the same if they would compute the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from va_search.search.configurations import Space
from va_search.search.failures import Breaker
from va_search.search.proposals import AskedTrial
from va_search.search.results import Results
from va_search.search.study import Study
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, configuration_id


class EarlierRuns:
    """What a new run of `search` goes on from; `trial_id` maps settings to the id under this
    study's data."""

    def __init__(
        self, study: Study, space: Space, trial_id: Callable[[TrialSettings], str]
    ) -> None:
        self._study, self._space, self._trial_id = study, space, trial_id
        self._asked, self._position = study.asked_since(0)
        # A run that resumes a trial notes it again, without its configuration.
        self._configurations = {
            trial.id: trial.configuration
            for trial in self._asked
            if trial.configuration is not None
        }
        self._meanings: set[str] = set()

    def asked_since(self) -> list[AskedTrial]:
        """Return the trials that were asked for since the last look, by whichever process, with
        what else their configurations consist of (folds, seeds)."""
        asked, self._position = self._study.asked_since(self._position)
        for trial in asked:
            if trial.configuration is not None:
                self._configurations[trial.id] = trial.configuration
        return self._begun(asked)

    def complete(self, results: Results, breaker: Breaker) -> list[AskedTrial]:
        """Return the complete trials that count, of several that mean the same the first one;
        `results` and `breaker` are told of them."""
        trials = []
        for record in self._study.bank.each_trial(self._study.name):
            results.remember(record)
            settings = self._own(record.id, record.settings)
            if settings is None:
                reason = "added with bank add" if record.is_outside else "outside this space"
                results.leave_aside(reason)
                continue
            meaning = self._space.meaning(settings)
            if meaning in self._meanings:
                results.leave_aside("the same as another one")
                continue
            self._meanings.add(meaning)
            results.finish(record.id)
            breaker.works(record.noted_settings or {})
            trials.append(AskedTrial(record.id, settings))
        return trials

    def unfinished(self, results: Results) -> list[AskedTrial]:
        """Return the trials that were asked for and are not complete, then what their
        configurations lack (folds, seeds); each once. `complete` comes before."""
        trials: dict[str, AskedTrial] = {}
        for trial in self._begun(self._asked):
            is_complete = trial.id in results.records
            if not is_complete and self._space.meaning(trial.settings) not in self._meanings:
                trials[trial.id] = trial
        return list(trials.values())

    def _begun(self, noted: Sequence[Trial]) -> list[AskedTrial]:
        """Return noted trials that are the study's own, then the others of their
        configurations."""
        begun = []
        one_of_each: dict[str, AskedTrial] = {}
        for asked in noted:
            settings = self._own(asked.id, asked.settings)
            if settings is not None:
                trial = AskedTrial(asked.id, settings)
                begun.append(trial)
                configuration = configuration_id(settings, but=("seed", "fold"))
                if configuration not in one_of_each or trial.id in self._configurations:
                    one_of_each[configuration] = trial
        if self._space.trials_each > 1:
            for trial in one_of_each.values():
                begun += self._siblings(trial)
        return begun

    def _siblings(self, trial: AskedTrial) -> list[AskedTrial]:
        """Return the trials of this one's configuration on all of the space's folds and seeds."""
        noted = self._configurations.get(trial.id)
        configuration = self._space.configuration(trial.settings, noted)
        if configuration is None:
            return []
        siblings = self._space.trials(configuration)
        return [AskedTrial(self._trial_id(sibling), sibling) for sibling in siblings]

    def _own(self, trial: str, settings: TrialSettings | None) -> TrialSettings | None:
        """Return settings noted for a trial; None unless the trial is the study's own."""
        if settings is None:
            return None
        if not self._space.contains(settings, self._configurations.get(trial)):
            return None
        return settings if self._trial_id(settings) == trial else None
