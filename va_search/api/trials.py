"""One trial of a study, and all of them as one table.

Conventions: as in study.py: CCCs are in-sample, NaN where there is none; sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.errors import InputError, unknown_name
from va_search.files import read_json
from va_search.predictions.entries import WEIGHTS, sealed_files, weights_of
from va_search.predictions.records import RECORD, files_beside
from va_search.trial import SCORE, Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd

    from va_search.api.study import OpenStudy
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.search.saves import Claims
    from va_search.training.weights import TrainedModel

MEASURED = {
    "epochs_trained": "epochs",
    "seconds": "seconds",
    "training_seconds": "training_seconds",
    "device": "device",
    "node": "node",
    "source": "source",
    "trained_in": "trained_in",
    "finished_at": "finished_at",
}
"""Columns of what was measured, by the field of `Trial`; `epochs` alone is the setting."""


@dataclass(frozen=True)
class OpenTrial:
    """A complete trial; make one with `OpenStudy.trial`. `record` is what its trial.json says."""

    study: OpenStudy
    record: Trial

    def __repr__(self) -> str:
        return f"trial {self.record.label} in {self.study.home.files.place}"

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.id

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings as plain data; empty for a model from elsewhere."""
        return dict(self.record.noted_settings or {})

    @property
    def scores(self) -> dict[str, float]:
        """The best CCC by measure: each target, and score; empty without validation."""
        return {measure: best.ccc for measure, best in self.record.best.items()}

    @property
    def effective_settings(self) -> Mapping[str, Any]:
        """The settings that have an effect in it, with seed and fold, as plain data; all of them
        where only another version of the package knows them."""
        from va_search.trial_settings import without_effect

        hidden = without_effect(self.settings) if self.record.settings is not None else ()
        return {name: value for name, value in self.settings.items() if name not in hidden}

    @property
    def default_settings(self) -> Mapping[str, Any]:
        """Those of `effective_settings` that have their default, but seed, fold and features."""
        from va_search.trial_settings import setting_field

        defaults = {}
        for name, value in self.effective_settings.items():
            field = setting_field(name)
            if field is None or name in ("features", "seed", "fold"):
                continue
            default = field.get_default(call_default_factory=True)
            if value == (list(default) if isinstance(default, tuple) else default):
                defaults[name] = value
        return defaults

    @property
    def ensembles(self) -> dict[str, dict[str, float]]:
        """Its weight by target in each ensemble of the home that has it as a member, of a blend
        times the share of its part; an ensemble that can't be read is left out."""
        from va_search.api.contents import ensembles_of

        using: dict[str, dict[str, float]] = {}
        with self.study.home.using():
            for name, ensemble in ensembles_of(self.study.home.files).items():
                weights = {}
                if not isinstance(ensemble, InputError):
                    weights = _weights_in(ensemble, self.study.name, self.id)
                if weights:
                    using[name] = weights
        return using

    @property
    def curves(self) -> pd.DataFrame:
        """Its training, one row per epoch, as `OpenStudy.curves`."""
        return self.study.curves(self.id)

    @property
    def files(self) -> dict[str, int]:
        """Sizes of the files in its folder, by name. They are read from its record, so that of a
        home at a URL none has to be brought."""
        with self.study.home.using():
            record = self.folder / RECORD
            sealed = sealed_files(read_json(record))
            if sealed is None:  # written before there were seals
                names = files_beside(self.folder)
                sizes = {name: (self.folder / name).stat().st_size for name in names}
            else:
                sizes = {name: seal.bytes for name, seal in sealed.items()}
            return {**sizes, RECORD: record.stat().st_size}

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.study.files.bank.folder(self.study.name, self.id)

    @property
    def weights(self) -> dict[str, Path]:
        """Files of weights by target, checked against their seals; empty where it keeps none."""
        bank = self.study.files.bank
        with self.study.home.using("weights", studies=[self.study.name]):
            paths = weights_of(bank, self.study.name, self.id)
            targets = [path.name.removesuffix(WEIGHTS) for path in paths]
            return {target: bank.weights(self.study.name, self.id, target) for target in targets}

    def load_model(self, target: str | None = None, *, trust_code: bool = False) -> TrainedModel:
        """Return the model of the epoch that was kept for a target, by default the first one; it
        predicts recordings of any store with its feature sets.

        `trust_code`: run the code of own models that came with the home. InputError where the trial
        keeps no weights of the target."""
        weights = self.weights
        if not weights:
            raise InputError(
                f"trial {self.record.label} keeps no weights (cleaned, not trained here, or of a fold "
                "and `keep` without them); train it again to have some"
            )
        if target is None:
            target = next(iter(weights))
        if target not in weights:
            raise InputError(unknown_name("target", target, weights))
        # torch is imported only where there is something to load.
        from va_search.models.sources import trust_everything
        from va_search.training.weights import load_model

        if trust_code:
            trust_everything()
        return load_model(self.folder, target)

    def predictions(
        self, split: str = "validation", *, store: Store | str | Path | None = None
    ) -> pd.DataFrame:
        """Its predictions beside the annotations, as `OpenStudy.predictions`."""
        return self.study.predictions(self.id, split, store=store)

    def python(self) -> list[str]:
        """Lines of Python that open it, and load and use its models."""
        files = self.study.home.files
        location = files.url or str(files.root.resolve())
        lines = [
            "import va_search as va",
            f"trial = va.open_study({self.study.name!r}, home={location!r}).trial({self.id!r})",
            "trial.curves  # loss and scores by epoch",
        ]
        targets = []
        for name in sorted(self.files):
            if name.endswith(WEIGHTS):
                targets.append(name.removesuffix(WEIGHTS))
        for target in targets:
            variable = target if target.isidentifier() and not iskeyword(target) else "model"
            lines.append(f"{variable} = trial.load_model({target!r})")
        if targets and self.record.store_path is not None:
            lines += [
                f"store = va.open_store({self.record.store_path!r})  # or one of new recordings",
                f"{variable}.predict(store, store.recordings[:1])  # (frames, targets)",
            ]
        return lines


def _weights_in(ensemble: Ensemble, study: str, trial: str) -> dict[str, float]:
    """The weight of a trial in an ensemble by target; trials of a configuration over folds share its
    weight."""
    weights: dict[str, float] = {}
    for share, piece in ensemble.pieces:
        for target, weighted in piece.dimensions.items():
            for member in weighted.members:
                trials = list(member.trials.values()) if member.trials else [member.trial]
                if member.study == study and trial in trials:
                    weight = share * member.weight / len(trials)
                    weights[target] = weights.get(target, 0.0) + weight
    return weights


def open_trial(study: OpenStudy, name: str) -> OpenTrial:
    """Open the complete trial whose id is `name`, or the only one whose id begins with it."""
    with study.home.using():
        bank = study.files.bank
        trials = bank.trials(study.name)
        if name not in trials:
            like = [trial for trial in trials if trial.startswith(name)]
            if not like:
                _refuse_incomplete(study, name)
            if len(like) != 1:
                raise InputError(f"study {study.name!r}: {_not_one(name, like, trials)}")
            name = like[0]
        return OpenTrial(study, bank.trial(study.name, name))


def _refuse_incomplete(study: OpenStudy, name: str) -> None:
    """InputError, with what became of it, where a trial that is not complete has this id or begins
    so."""
    for trial in (*study.files.failures(), *study.files.asked()):
        if not name or not trial.id.startswith(name):
            continue
        text = f"study {study.name!r}: trial {trial.id} is not complete"
        if trial.failure is None:
            raise InputError(f"{text}: it runs, or was left unfinished")
        raise InputError(
            f"{text}: it failed ({trial.failure.reason}); its traceback is in failures()"
        )


def _not_one(name: str, like: Sequence[str], trials: Sequence[str]) -> str:
    if not like or not name:
        return unknown_name("trial", name, trials)
    return f"{len(like)} trials begin with {name!r}: {', '.join(like[:5])}"


# All trials -----------------------------------------------------------------------------------


def every_trial(study: OpenStudy) -> list[Trial]:
    """Return all trials that the study ever asked for or was given: complete ones with the best
    score first, then failed ones, then those that run or were left unfinished, each by id."""
    with study.home.using():
        complete = list(study.files.bank.each_trial(study.name))
        failed = study.files.failures()
        asked = {trial.id: trial for trial in study.files.asked()}
    complete.sort(
        key=lambda trial: (-float("inf") if trial.score is None else -trial.score, trial.id)
    )
    ended = {trial.id for trial in (*complete, *failed)}
    unfinished = [asked[name] for name in sorted(asked) if name not in ended]
    return [*complete, *failed, *unfinished]


def table_of(study: OpenStudy, trials: Sequence[Trial]) -> pd.DataFrame:
    """Trials as a table, one row each, indexed by trial id.

    Columns: state (complete, failed, running, unfinished), score, each target, the settings that
    differ among the trials, fold, seed, what was measured, failure (its last line), and last the
    settings that all have alike."""
    import pandas as pd

    from va_search.api.ranking import targets_of
    from va_search.api.study import setting_columns
    from va_search.search.saves import Claims

    claims = Claims(study.home.files.root / "claims")
    targets = targets_of(trials)
    settings = [setting_columns(trial.noted_settings) for trial in trials]
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"trial": trial.id, "state": _state(trial, claims)}
        for measure in (SCORE, *targets):
            row[measure] = trial.ccc(measure)
        for column, name in MEASURED.items():
            row[column] = getattr(trial, name)
        row["failure"] = None if trial.failure is None else trial.failure.reason
        rows.append(row)
    differing, alike = _by_difference(settings)
    for row, cells in zip(rows, settings, strict=True):
        row.update({name: _cell(cells.get(name)) for name in ("fold", "seed", *differing, *alike)})
    order = ["state", SCORE, *targets, *differing, "fold", "seed", *MEASURED, "failure", *alike]
    return pd.DataFrame(rows, columns=["trial", *order]).set_index("trial")


def _cell(value: Any) -> Any:
    """A setting as a cell: lists joined by "+", as features are."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else value


def differing_settings(trials: Sequence[Trial]) -> list[str]:
    """Names of the settings, but fold and seed, that are not alike in all trials."""
    from va_search.api.study import setting_columns

    return _by_difference([setting_columns(trial.noted_settings) for trial in trials])[0]


def _by_difference(settings: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Names of the settings that differ among trials, and of the others, in their order; fold and
    seed are in neither."""
    names = dict.fromkeys(name for cells in settings for name in cells)
    differing: list[str] = []
    alike: list[str] = []
    # A model from elsewhere has no settings, which makes none of them different.
    of_own_trials = [cells for cells in settings if cells]
    for name in names:
        if name in ("fold", "seed"):
            continue
        values = {repr(cells.get(name)) for cells in of_own_trials}
        (differing if len(values) > 1 else alike).append(name)
    return differing, alike


def _state(trial: Trial, claims: Claims) -> str:
    if trial.state is not TrialState.ASKED:
        return str(trial.state.value)
    return "running" if claims.is_held(trial.id) else "unfinished"
