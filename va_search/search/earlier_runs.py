"""Trials that earlier runs of a study left, as its space sees them now.

Conventions: a trial is the study's own if it lies in the space, and its id is the one that its
settings have on this data with this package's training: a model from elsewhere, or a trial of
another version, is none. Two trials mean the same if they would compute the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from va_search.search.configurations import Space
from va_search.search.failures import Breaker
from va_search.search.proposals import AskedTrial, OwnTrial
from va_search.search.results import Results
from va_search.search.study import Study
from va_search.trial import Trial, known_settings
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
        self.own: dict[str, OwnTrial] = {}
        """By id the trials of earlier runs that are the study's own, as far as they were looked
        at: each is looked at once."""

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
            own = self._own(record.id, record.settings)
            if own is None:
                reason = "added with bank add" if record.is_outside else "outside this space"
                results.leave_aside(reason)
                continue
            if own.meaning in self._meanings:
                results.leave_aside("the same as another one")
                continue
            self._meanings.add(own.meaning)
            results.finish(record.id)
            breaker.works(record.noted_settings or {})
            trials.append(AskedTrial(record.id, own.settings))
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
            own = self.own.get(asked.id)
            if own is None:
                own = self._own(asked.id, known_settings(asked.settings_json))
            if own is None:
                continue
            trial = AskedTrial(asked.id, own.settings)
            begun.append(trial)
            if self._space.trials_each > 1:
                configuration = configuration_id(own.settings, but=("seed", "fold"))
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

    def _own(self, trial: str, settings: TrialSettings | None) -> OwnTrial | None:
        """Return what is known of a trial for which these settings were noted; None unless it is
        the study's own."""
        if settings is None:
            return None
        configuration = self._space.own_configuration(settings, self._configurations.get(trial))
        if configuration is None or self._trial_id(settings) != trial:
            return None
        own = OwnTrial(settings, configuration, self._space.meaning(settings))
        self.own[trial] = own
        return own
