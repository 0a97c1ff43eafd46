"""A study: its trials as a table, failures, the best, training curves, predictions.

Conventions: CCCs are measured on each trial's own validation recordings at the best epoch of each
target, so they are in-sample; NaN where a trial has no validation (train_val_mix) or a setting
does not apply. Predictions and annotations are on the source's scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from va_search.api.home import OpenHome, check_studies, open_home, open_noted_store
from va_search.api.progress import Note, summary_lines, to_standard_error
from va_search.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from va_search.api.comparing import StudyComparison
    from va_search.api.dependents import Dependents
    from va_search.api.exporting import Exported
    from va_search.api.ranking import Ranking
    from va_search.api.studies import Cleaning
    from va_search.api.trials import OpenTrial
    from va_search.data.store import Store
    from va_search.ensemble.outside import Added
    from va_search.look.folder import LookFolder
    from va_search.report.standing import StudyProgress
    from va_search.search.machine import Options
    from va_search.search.study import Study
    from va_search.search.summary import Summary
    from va_search.tracking.links import TrialsPage
    from va_search.trial import Trial


@dataclass
class OpenStudy:
    """A study of a home; make one with `run_search`, `open_study` or `OpenHome.study`.

    `summary`: counts of the search that returned it; None where it was opened."""

    home: OpenHome
    name: str
    summary: Summary | None = None

    def __repr__(self) -> str:
        if self.summary is None:
            return f"study {self.name} in {self.home.files.place}"
        return "\n".join(summary_lines(self.summary, self.home.files))

    @property
    def files(self) -> Study:
        """The study's files under the home: space, asked trials, failures."""
        from va_search.search.study import Study

        return Study(self.home.files, self.name)

    @property
    def space(self) -> dict[str, Any]:
        """The search space as plain data."""
        return dict(self.files.document()["space"])

    @property
    def store(self) -> Store:
        """The store the study was begun on; InputError where it is not there any more."""
        return open_noted_store(self.files.document()["store_path"], None)

    def trials(self, *, every: bool = False) -> pd.DataFrame:
        """Complete trials, one row each, the best score first, indexed by trial id.

        Columns: each target and score (CCC), epochs, seconds, source ("trained", or "outside" for
        models from elsewhere), finished_at, and each setting, `features` joined by "+".

        `every`: failed, running and unfinished trials too, with state, times, device and failure,
        the settings that differ first: the table of `va-search trials --csv`."""
        import pandas as pd

        from va_search.api.trials import every_trial, table_of
        from va_search.trial import SCORE

        if every:
            return table_of(self, every_trial(self))
        with self.home.using():
            complete = list(self.files.bank.each_trial(self.name))
        if not complete:
            columns = ["trial", *self._target_names(), SCORE]
            return pd.DataFrame(columns=columns).set_index("trial")
        rows = [_trial_row(trial) for trial in complete]
        table = pd.DataFrame(rows).set_index("trial")
        # Stable, so that equal scores stay in the order of their ids.
        return table.sort_values("score", ascending=False, kind="stable")

    def failures(self) -> pd.DataFrame:
        """Trials whose last training failed, indexed by trial id: `reason`, the whole `traceback`,
        and each setting."""
        import pandas as pd

        with self.home.using():
            failures = self.files.failures()
        rows = []
        for trial in failures:
            assert trial.failure is not None
            traceback = trial.failure.traceback.strip()
            row = {"trial": trial.id, "reason": trial.failure.reason, "traceback": traceback}
            rows.append({**row, **setting_columns(trial.noted_settings)})
        columns = ["trial", "reason", "traceback"]
        return pd.DataFrame(rows, columns=None if rows else columns).set_index("trial")

    @property
    def best(self) -> dict[str, tuple[str, float]]:
        """The best trial and its CCC by measure: each target, and score; empty without
        validation."""
        with self.home.using():
            scored = [trial for trial in self.files.bank.each_trial(self.name) if trial.best]
        # The best score first: of two trials alike in a target the better one is taken.
        scored.sort(key=lambda trial: -(trial.score or 0.0))
        best: dict[str, tuple[str, float]] = {}
        for trial in scored:
            for measure, reached in trial.best.items():
                is_better = measure not in best or reached.ccc > best[measure][1]
                if is_better and math.isfinite(reached.ccc):
                    best[measure] = (trial.id, reached.ccc)
        return best

    def ranking(self, by: str = "score") -> Ranking:
        """Its complete trials by a target, "score" or "seconds", the best first, with the settings
        that vary; `.decisive`: which of them decided, in which direction, and how sure that is."""
        from va_search.api.ranking import rank_trials

        with self.home.using():
            trials = [trial for trial in self.files.bank.each_trial(self.name) if trial.best]
        try:
            store = self.store
        except (InputError, KeyError):
            store = None
        return rank_trials(trials, by, store)

    def trial(self, name: str) -> OpenTrial:
        """Open a complete trial by its id, or by a beginning that no other id has: `curves`,
        `weights`, `load_model()`."""
        from va_search.api.trials import open_trial

        return open_trial(self, name)

    def curves(self, trial: str) -> pd.DataFrame:
        """Training of a trial, one row per epoch: loss (mean over batches), ccc_TARGET
        and score on validation, learning_rate, seconds."""
        import pandas as pd

        history = self._trial(trial).history
        if not history:
            return pd.DataFrame()
        return pd.DataFrame([epoch.to_json() for epoch in history]).set_index("epoch")

    def predictions(
        self, trial: str, split: str = "validation", *, store: Store | str | Path | None = None
    ) -> pd.DataFrame:
        """Predictions of a complete trial beside the annotations, one row per frame.

        Columns: recording, frame (0-based), each TARGET, then each TARGET_annotation (NaN where a
        frame has no label for it). `split`: "test", or "validation", which
        are the recordings of the trial's own fold. `store`: where it lies now if it was moved."""
        import numpy as np

        from va_search.data.store import OFFICIAL, frames_hash, positions

        with self.home.using("predictions", studies=[self.name]):
            complete = self._trial(trial)
            if split not in complete.predictions:
                splits = list(complete.predictions)
                raise InputError(f"trial {trial}: " + unknown_name("predictions", split, splits))
            opened = open_noted_store(complete.store_path or "", store)
            fold = opened.fold(OFFICIAL if complete.fold is None else complete.fold)
            # validation is the trial's own fold's, test the same for all
            recordings = fold.test if split == "test" else fold.validation
            lines_up = frames_hash(recordings)
            values = self.files.bank.read(self.name, trial, split, frames_hash=lines_up)
        annotations = opened.annotations[positions(recordings)]
        table = frame_index(recordings)
        for column, target in enumerate(opened.target_names):
            table[target] = np.asarray(values[:, column])
        for column, target in enumerate(opened.target_names):
            table[f"{target}_annotation"] = annotations[:, column]
        return table

    def standing(self) -> StudyProgress:
        """Complete, failed and planned trials, and if the study is being searched now."""
        from va_search.report.standing import progress_of

        with self.home.using():
            trials = list(self.files.bank.each_trial(self.name))
            return progress_of(self.home.files, self.name, trials, self.files.failures())

    def stop(self) -> bool:
        """Ask the running search of the study to stop, as after Ctrl-C; False when none runs."""
        from va_search.storage.lease import ask_elsewhere

        with self.home.using():
            self.files.document()
            return self.files.ask_to_stop() or ask_elsewhere(self.home.files, self.name)

    def retry(
        self,
        *,
        failed_only: bool = False,
        store: Store | str | Path | None = None,
        options: Options | None = None,
        trust_code: bool = False,
        **more: Any,
    ) -> OpenStudy:
        """Train again what failed, and unless `failed_only` what was left unfinished, whatever the
        budget; nothing new.

        `store`: where it lies now if it was moved. `trust_code`: run the code of own models that
        came with the home. `more` as in `run_search` (progress, note)."""
        from va_search.api.searching import run_search
        from va_search.models.sources import bring_kept, load, references, trust_everything
        from va_search.search.space import read_space

        with self.home.using():
            if trust_code:
                trust_everything()
            document = self.files.document()
            opened = open_noted_store(document["store_path"], store)
            path = self.files.folder / "study.json"
            bring_kept(document["space"], self.files.folder / "code")
            for reference in references(document["space"]):
                load(reference)  # InputError where it is not trusted
            space = read_space(document["space"], opened, path=path, name=self.name, kept=True)
            return run_search(
                space,
                opened,
                study=self.name,
                home=self.home,
                options=options,
                only="failed" if failed_only else "begun",
                **more,
            )

    def report(self, out: str | Path, **more: Any) -> Path:
        """Write tables and figures of the study to the folder `out`; returns its report.html.

        `more` as in `write_report`."""
        from va_search.api.ensembles import write_report

        return write_report([self], out, home=self.home, **more)

    def look(self, out: str | Path, **more: Any) -> LookFolder:
        """Write a page of the best trials' curves to the folder `out`, beside the annotations.
        `more` as in `look_at` (media, members, by, split, store)."""
        from va_search.api.looking import look_at

        return look_at(self.name, out, home=self.home, **more)

    def watch(self, seconds: float = 2.0) -> None:
        """Show how the study's search goes, wherever it runs, every so many seconds until all of it
        is trained; interrupting ends the watching only."""
        from va_search.api.watching import watch_study

        watch_study(self.home, self.name, seconds)

    @property
    def mlflow(self) -> TrialsPage | None:
        """The page of MLflow that lists the trials: its `.address`, and the `.command` that starts it
        (None: it runs); None where MLflow does not have the study."""
        with self.home.using():
            return self.files.trials_page

    def _repr_html_(self) -> str:
        """The study in a notebook: where its search stands, the best trials, what runs now."""
        from va_search.api.watching import study_page

        return study_page(self)

    # --- Keeping house ----------------------------------------------------------------------------

    @property
    def dependents(self) -> Dependents:
        """What in the home depends on the study."""
        from va_search.api.dependents import Dependents

        with self.home.using():
            return Dependents.of(self.home.files, self.name)

    def rename(self, to: str) -> OpenStudy:
        """Give the study another name in everything that names it; return it under that name.
        `rename_study` (api/studies.py) says more."""
        from va_search.api.studies import rename_study

        rename_study(self.name, to, home=self.home)
        return OpenStudy(self.home, to)

    def remove(self, *, with_dependents: bool = False) -> None:
        """Remove the study with its trials, and `with_dependents` the ensembles made of them."""
        from va_search.api.studies import remove_study

        remove_study(self.name, with_dependents=with_dependents, home=self.home)

    def clean(self) -> Cleaning:
        """Remove weights of trials that no ensemble is made of, and checkpoints; return what was
        removed."""
        from va_search.api.studies import clean_study

        return clean_study(self.name, home=self.home)

    def export(self, to: str | Path, *, weights: bool = True, ensembles: bool = False) -> Exported:
        """Write the study to a new zip file, which `import_study` takes in elsewhere."""
        from va_search.api.exporting import export_study

        return export_study(self.name, to, weights=weights, ensembles=ensembles, home=self.home)

    def compare(self, other: str) -> StudyComparison:
        """Compare it with another study of the home, paired over what they share."""
        from va_search.api.comparing import compare_studies

        return compare_studies(self.name, other, home=self.home)

    def _target_names(self) -> tuple[str, ...]:
        """The store's targets; valence and arousal where it is not known any more."""
        from va_search.targets import AFFECT

        try:
            return self.store.target_names
        except (InputError, KeyError):
            return AFFECT

    def _trial(self, trial: str) -> Trial:
        bank = self.files.bank
        if not bank.is_complete(self.name, trial):
            trials = bank.trials(self.name)
            raise InputError(f"study {self.name!r}: " + unknown_name("trial", trial, trials))
        return bank.trial(self.name, trial)


def open_study(name: str, *, home: OpenHome | str | Path | None = None) -> OpenStudy:
    """Open a study of a home; InputError, with the names that are there, where it is none."""
    opened = open_home(home)
    # a study may have models from elsewhere only, so the folder of searches alone does not tell
    with opened.using():
        check_studies(opened.files, [name], lambda ensemble, _: f"open_ensemble({ensemble!r})")
    return OpenStudy(opened, name)


def import_predictions(
    source: str | Path,
    store: Store | str | Path,
    *,
    study: str,
    home: OpenHome | str | Path | None = None,
    note: Note | None = None,
) -> list[Added]:
    """Put the predictions of models from elsewhere into a study, an old or a new one.

    `source`: a folder per model, in it a CSV per recording. The same call again changes nothing.
    `note` takes remarks, by default on standard error. InputError with every model's problems, and
    nothing is imported then."""
    from va_search.api.data import open_store
    from va_search.ensemble.outside import add_outside

    note = note or to_standard_error
    with open_home(home).using(writes=True) as opened:
        bank = OpenStudy(opened, study).files.bank
        studies = bank.studies()
        added = add_outside(
            bank,
            study,
            Path(source),
            open_store(store),
            lambda model: note(f"reading {model}"),
        )
        # a new name may be a slip of the pen
        if study not in studies and studies:
            note(f"{study!r} is new in the bank (others there: {', '.join(studies)})")
    for model in added:
        for remark in model.remarks:
            note(f"warning: {remark}")
    return added


def names_and_home(
    studies: OpenStudy | str | Sequence[OpenStudy | str], home: OpenHome | str | Path | None
) -> tuple[list[str], OpenHome]:
    """Names of studies that are given open or by name, and their home: the one of the open ones
    unless `home` is given."""
    if isinstance(studies, OpenStudy | str):
        studies = [studies]
    names = []
    for study in studies:
        if isinstance(study, str):
            names.append(study)
            continue
        names.append(study.name)
        # an open study knows its home, so that it need not be said again
        home = study.home if home is None else home
    return names, open_home(home)


def frame_index(recordings: Iterable[Any]) -> pd.DataFrame:
    """The columns recording and frame (0-based), one row per frame of the recordings, in their
    order."""
    import numpy as np
    import pandas as pd

    names: list[str] = []
    frames = [np.empty(0, np.int64)]
    for recording in recordings:
        names += [recording.name] * recording.frames
        frames.append(np.arange(recording.frames))
    return pd.DataFrame({"recording": names, "frame": np.concatenate(frames)})


def _trial_row(trial: Trial) -> dict[str, Any]:
    """Return a complete trial as a row of `OpenStudy.trials`."""
    from va_search.trial import SCORE

    row: dict[str, Any] = {"trial": trial.id}
    for measure in (*trial.target_names, SCORE):
        ccc = trial.ccc(measure)
        row[measure] = float("nan") if ccc is None else ccc
    for name in ("epochs", "seconds", "source", "finished_at"):
        row[name] = getattr(trial, name)
    return {**row, **setting_columns(trial.noted_settings)}


def setting_columns(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings as cells: lists as tuples, so that rows can be grouped by them."""
    cells: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        if name == "features":
            cells[name] = "+".join(value)
        else:
            # a list can't be a key of a group
            cells[name] = tuple(value) if isinstance(value, list) else value
    return cells
