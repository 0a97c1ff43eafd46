"""Ensembles: build, compare, open; scores, members, weights; submission, predictions, registry.

Conventions: scores are pooled CCCs on validation. `in_sample`: on the recordings that members and
weights were chosen on, so too high. `out_of_fold`: the whole recipe again without the people who
are scored; NaN where that is impossible. A blend has the members of its parts, each weight times
the part's share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from va_search.api.data import open_store
from va_search.api.home import (
    OpenHome,
    bring_members,
    check_complete,
    check_ensemble,
    check_studies,
    open_home,
    open_noted_store,
)
from va_search.api.progress import Note, progress_line, to_standard_error
from va_search.api.study import OpenStudy, names_and_home
from va_search.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from va_search.api.videos import PredictedVideos
    from va_search.data.store import Store
    from va_search.ensemble.estimate import Estimate
    from va_search.ensemble.explain import Explanation
    from va_search.ensemble.saved import Ensemble
    from va_search.ensemble.verdict import Verdict
    from va_search.look.folder import LookFolder
    from va_search.search.machine import Options
    from va_search.serving.predict import Written
    from va_search.serving.register import Registered
    from va_search.submission.strategies import Submissions
    from va_search.submission.writing import OtherRecordings, Submission
    from va_search.tracking.ensembles import TrackedVerdict
    from va_search.verdict.block import VerdictBlock

    Studies = OpenStudy | str | Sequence[OpenStudy | str]
    AnyStore = Store | str | Path
    AnyHome = OpenHome | str | Path | None

DEFAULT_RECIPE = "bagged_greedy"
BEST = "best"
"""The recipe that takes the best single trial per target."""

OverFolds = Literal["official", "all"]
"""Members are judged on the official validation split, or on all folds."""


@dataclass
class OpenEnsemble:
    """A saved ensemble of a home; make one with `build_ensemble`, `open_ensemble` or
    `OpenHome.ensemble`. `document` is everything that is saved of it."""

    home: OpenHome
    document: Ensemble

    def __repr__(self) -> str:
        studies = ", ".join(self.document.studies)
        return f"ensemble {self.name} of {studies}, recipe {self.document.recipe}\n{self.scores}"

    def _repr_html_(self) -> str:
        """The verdict and the scores, as a notebook shows them."""
        scores = self.scores.to_html(float_format="{:.3f}".format)
        return f"{self.judged()._repr_html_()}\n{scores}"

    @property
    def name(self) -> str:
        """The name it is saved under."""
        return self.document.name

    @property
    def scores(self) -> pd.DataFrame:
        """Rows: best single trial per target and ensemble, out-of-fold and in-sample; columns: each
        target and score, with the ends of the 95 % interval of out-of-fold ones."""
        import pandas as pd

        from va_search.trial import SCORE

        names = (*self.document.target_names, SCORE)
        rows = []
        documents = {"best single": self.document.best_single, "ensemble": self.document.scores}
        intervals = self.document.intervals or {}
        for measured in ("out_of_fold", "in_sample"):
            for title, scores in documents.items():
                row: dict[str, Any] = {"measured": measured, "": title}
                row |= {name: (scores.get(measured) or {}).get(name) for name in names}
                if measured == "out_of_fold":  # in-sample scores have no interval
                    around = intervals.get(title.replace(" ", "_")) or {}
                    for name in names:
                        low, high = around.get(name) or (None, None)
                        row |= {f"{name}_low": low, f"{name}_high": high}
                rows.append(row)
        table = pd.DataFrame(rows).set_index(["measured", ""])
        return table.astype(float)

    @property
    def estimate(self) -> Estimate | None:
        """Scores expected on other people, with the 95 % intervals their CCCs lie in (`.text` says
        both); None where that is not known."""
        return self.document.estimate

    @property
    def members(self) -> pd.DataFrame:
        """Members with weight, one row per target (column `dimension`) and trial, by weight; `ccc` is
        the member's own, in-sample, `gain` what it adds to the ensemble, out-of-fold."""
        import pandas as pd

        columns = ["dimension", "study", "trial", "weight", "ccc", "gain", "source"]
        columns += ["encoder", "fusion", "features", "seed"]
        rows = []
        for share, piece in self.document.pieces:
            for target, weighted in piece.dimensions.items():
                for member in weighted.members:
                    row = {**member.model_dump(), "dimension": target}
                    row["weight"] = share * member.weight
                    row["features"] = "+".join(member.features or [])
                    rows.append(row)
        return pd.DataFrame(rows, columns=columns)

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """Weights by target and trial; they sum to 1 for each target."""
        weights: dict[str, dict[str, float]] = {}
        for target, members in self.members.groupby("dimension", sort=False):
            sums = members.groupby("trial", sort=False)["weight"].sum()
            weights[str(target)] = {str(trial): float(sums[trial]) for trial in sums.index}
        return weights

    @property
    def verdict(self) -> Verdict:
        """A sentence (`.text`) on the ensemble beside its best single trial, out-of-fold."""
        from va_search.ensemble.verdict import verdict_of

        return verdict_of(self.document)

    def judged(self, options: Sequence[str] = ()) -> VerdictBlock:
        """The whole verdict: what to submit and why, expected scores, the best single trial, what is
        unfinished or out of date (`.rows`), and the next command (`.next_command`).

        `options`: of the command line, which that command needs too (such as --data STORE)."""
        from va_search.verdict.block import verdict_block

        return verdict_block(self.home.files, self.document, options)

    @property
    def remarks(self) -> list[str]:
        """Sentences on what is out of date: newer trials, an older explanation or model."""
        from va_search.verdict.stale import out_of_date

        return out_of_date(self.home.files, self.document)

    def submit(
        self,
        out: str | Path,
        *,
        format: str = "recordings",
        sample: str | Path | None = None,
        template: str | Path | None = None,
        store: AnyStore | None = None,
        replace: bool = False,
    ) -> Submission:
        """Write the ensemble's test predictions to the folder `out`, read back and checked.

        `format`: "recordings" (a CSV each), or "abaw" (one file in the order of the organisers'
        `sample`). `store`: where it lies now if it was moved. An earlier submission of this
        ensemble in `out` is replaced, with `replace` any output of va-search. InputError with all
        problems."""
        from va_search.predictions.bank import Bank
        from va_search.submission import submit
        from va_search.submission.writing import OtherRecordings

        bring_members(self.home, self.document, "predictions")
        opened = open_noted_store(self.document.store, store)
        try:
            return submit(
                self.document,
                opened,
                Bank(self.home.files.bank),
                format=format,
                out=Path(out),
                sample=_path_or_none(sample),
                template=_path_or_none(template),
                replace=replace,
            )
        except OtherRecordings as error:
            raise self._with_way_to_predict(error, opened, out) from None

    def _with_way_to_predict(
        self, error: OtherRecordings, store: Store, out: str | Path
    ) -> InputError:
        """Return the error with the command that predicts the store's test recordings from the
        members' weights, or with what keeps these from it."""
        from va_search.predictions.bank import Bank
        from va_search.serving.members import needed
        from va_search.training.weights import unfit

        files = self.home.files
        try:
            bring_members(self.home, self.document, "weights")
            problems = unfit(store, needed(self.document, Bank(files.bank)))
        except InputError as missing:
            problems = missing.problems
        (text,) = error.problems
        if problems:
            return InputError(f"{text}, and its members can't predict them:", *problems)
        words = ["--data", store.url or str(store.path), "--split", "test", "--out", str(out)]
        command = files.command("predict", self.name, *words)
        return InputError(f"{text}; its members' weights predict them: {command}")

    def predict(
        self,
        store: AnyStore,
        split: str = "test",
        *,
        device: str = "auto",
        trust_code: bool = False,
    ) -> pd.DataFrame:
        """Predictions of a store's recordings from the members' weights, one row per frame.

        Columns: recording, frame (0-based), and each target, on the scale the ensemble was trained
        on and clipped to the target's range. The store needs the members' feature sets. `trust_code`:
        run the code of own models that came with the home. InputError with all problems."""
        import pandas as pd

        from va_search.api.study import frame_index
        from va_search.files import file_name_of

        targets = list(self.document.target_names)
        opened = open_store(store)
        # by way of files: these are checked as any others, and read back
        with TemporaryDirectory(prefix="va-search-predict-") as temporary:
            out = Path(temporary) / "predictions"
            self.write_predictions(opened, out, split, device=device, trust_code=trust_code)
            recordings = opened.split(split)
            parts = []
            for recording in recordings:
                parts.append(pd.read_csv(out / f"{file_name_of(recording.name)}.csv")[targets])
        return pd.concat([frame_index(recordings), pd.concat(parts, ignore_index=True)], axis=1)

    def write_predictions(
        self,
        store: AnyStore,
        out: str | Path,
        split: str = "test",
        *,
        device: str = "auto",
        replace: bool = False,
        trust_code: bool = False,
    ) -> Written:
        """Predict a store's recordings from the members' weights and write a CSV for each to `out`.

        `device`: "auto", "cpu" or a torch device. `replace` as in `submit`, `trust_code` as in
        `predict`. InputError with all problems."""
        import time

        from va_search.api.progress import duration
        from va_search.models.sources import trust_everything
        from va_search.predictions.bank import Bank

        if trust_code:
            trust_everything()
        opened = open_store(store)
        bring_members(self.home, self.document, "weights")
        began = time.monotonic()
        with progress_line("reading weights …", at_once=False) as line:
            from va_search.serving.predict import checked_device, write_predictions

            def watch(label: str, done: int, frames: int) -> None:
                left = (time.monotonic() - began) * (frames - done) / max(done, 1)
                share = done / max(frames, 1)
                line.update(f"predicting: {share:.0%}, member {label}, about {duration(left)} left")

            written = write_predictions(
                self.document,
                Bank(self.home.files.bank),
                opened,
                split,
                Path(out),
                device=checked_device(device),
                replace=replace,
                watch=watch,
            )
            line.update(f"predicted {written.rows:,} frames")
            return written

    def predict_videos(
        self,
        videos: str | Path | Sequence[str | Path],
        out: str | Path,
        *,
        recipe: str | Path | None = None,
        store: AnyStore | None = None,
        crops: str | Path | None = None,
        subjects: str | Path | None = None,
        frames_per_second: float | None = None,
        keep_features: bool = False,
        device: str = "auto",
        replace: bool = False,
        trust_code: bool = False,
        note: Note = to_standard_error,
    ) -> PredictedVideos:
        """Extract what the members read from videos or files of sound, predict them, and write a
        CSV for each to the folder `out`, with a page that shows the curves beside the videos.

        `videos`: a folder, subfolders included, or files. `recipe`: a file, where the training's
        store keeps none; `store`: where that store lies now if it was moved. `crops`: face crops by
        recording, where members look at given ones. `subjects`: a CSV recording,subject.
        `frames_per_second`: instead of the training's. `keep_features`: as a store in `out`.
        `device`, `replace` and `trust_code` as in `write_predictions`. The same call again goes on
        with what is missing; broken videos are told by `note`, and are in `.broken` of the result.
        InputError with all problems before anything is read."""
        from va_search.api.videos import VideoOptions, predict_videos
        from va_search.models.sources import trust_everything

        if trust_code:
            trust_everything()
        listed = [videos] if isinstance(videos, str | Path) else videos
        options = VideoOptions(
            _path_or_none(recipe),
            store,
            _path_or_none(crops),
            _path_or_none(subjects),
            frames_per_second,
            keep_features,
            device,
            replace,
        )
        paths = [Path(path) for path in listed]
        return predict_videos(self, paths, Path(out), options, note)

    def register(
        self,
        *,
        name: str | None = None,
        tracking_uri: str | None = None,
        trust_code: bool = False,
    ) -> Registered:
        """Put the ensemble with its members' weights into MLflow's model registry; a new version
        only if it changed.

        `name`: of the model, by default the ensemble's. `trust_code` as in `predict`. InputError for
        members without weights."""
        from va_search.models.sources import trust_everything

        if trust_code:
            trust_everything()
        with self.home.using(writes=True) as home:
            bring_members(home, self.document, "weights")
            from va_search.serving.register import register
            from va_search.tracking.door import tracking_place
            from va_search.tracking.ensembles import renew_verdict

            registered = register(home.files, self.document, name=name, tracking_uri=tracking_uri)
            # The run's verdict may say that an earlier version is registered: it is no longer.
            place = tracking_place(home.files, tracking_uri)
            renew_verdict(place, registered.run, self._tracked_verdict())
            return registered

    def report(self, out: str | Path, **more: Any) -> Path:
        """Write tables and figures of the ensemble and its studies to the folder `out`; returns its
        report.html. `more` as in `write_report`."""
        studies = self.document.studies
        return write_report(studies, out, ensemble=self.name, home=self.home, **more)

    def look(self, out: str | Path, **more: Any) -> LookFolder:
        """Write a page of the ensemble's and its members' curves to the folder `out`, beside the
        annotations. `more` as in `look_at` (media, members, split, store)."""
        from va_search.api.looking import look_at

        return look_at(self.name, out, home=self.home, **more)

    def refit(
        self,
        *,
        name: str | None = None,
        match: bool = True,
        store: AnyStore | None = None,
        options: Options | None = None,
        trust_code: bool = False,
        tracking: bool = True,
        **more: Any,
    ) -> OpenEnsemble:
        """Train the members again on everything labelled, for all their epochs, and return the
        ensemble of these with the weights of this one.

        It is saved under `name` ("…-refit" by default), which also is the study that has the
        trials; the same call again trains what is missing. `match`: scale and shift its test
        predictions to the mean and spread of all labelled frames; no test label is read. `store`:
        where it lies now if it was moved. `trust_code` as in `predict`, `tracking`: log it to
        MLflow, `more` as in `run_search` (progress, note). InputError with all problems."""
        from va_search.api.refitting import save_refitted, train_again
        from va_search.models.sources import trust_everything

        if trust_code:
            trust_everything()
        name = name or f"{self.name}-refit"
        with self.home.using(writes=True):
            train_again(self, name, store=store, options=options, **more)
            ensemble = save_refitted(self, name, match=match, store=store)
        if tracking:
            tracking_uri = None if options is None else options.tracking_uri
            ensemble.track(tracking_uri, note=more.get("note") or to_standard_error)
        return ensemble

    def explain(
        self, *, store: AnyStore | None = None, note: Note = to_standard_error
    ) -> dict[str, Explanation]:
        """Explain each target: where its weight lies, what each part adds, how alike members
        are. Minutes for many candidates. The tables and pictures are kept beside the ensemble.

        `store`: where it lies now if it was moved. `note` takes a warning if nothing can be
        drawn."""
        from va_search.api.explaining import explain

        with self.home.using("predictions", studies=self.document.studies, writes=True):
            return explain(self.home.files, self.document, store_or_none(store), note)

    def track(
        self,
        tracking_uri: str | None = None,
        *,
        explained: bool = False,
        note: Note = to_standard_error,
    ) -> bool:
        """Log the ensemble to MLflow, where it is `explained` with its explanation's files.

        False, and a warning to `note`, where that failed: the ensemble stands. `note` also hears of
        registered models that are of earlier builds."""
        from va_search.ensemble.fresh import content_id, explanation_folder, stale_models
        from va_search.tracking.door import tracking_place
        from va_search.tracking.ensembles import log_ensemble
        from va_search.tracking.models import older_versions
        from va_search.tracking.shown import reason
        from va_search.verdict.stale import register_advice

        files, built = self.home.files, self.document
        folder = explanation_folder(files, built.name) if explained else None
        server = tracking_place(files, tracking_uri)
        verdict = self._tracked_verdict()
        try:
            run = log_ensemble(server, built.model_dump(mode="json"), folder, verdict)
            older = older_versions(server.uri, run, content_id(built), built.created_at)
        except Exception as error:
            note(
                f"warning: not logged to MLflow ({reason(error, server.uri)}); the ensemble is "
                "saved; the same command tries again"
            )
            return False
        # those that this home knows of are among the remarks already
        remarked = stale_models(files, built)
        for model in older:
            if model not in remarked:
                note(register_advice(files, built, model))
        return True

    def _tracked_verdict(self) -> TrackedVerdict:
        """The verdict as the ensemble's MLflow run shows it."""
        from va_search.tracking.ensembles import TrackedVerdict

        block = self.judged()
        return TrackedVerdict(block.text, block.markdown)


def open_ensemble(name: str, *, home: AnyHome = None) -> OpenEnsemble:
    """Open a saved ensemble of a home; InputError, with the names that are there, where it is
    none."""
    from va_search.ensemble.saved import read_ensemble, seal_older

    opened = open_home(home)
    with opened.using():
        check_ensemble(opened.files, name, lambda ensemble: f"open_ensemble({ensemble!r})")
        ensemble = read_ensemble(opened.files, name)
        return OpenEnsemble(opened, seal_older(opened.files, ensemble))


def build_ensemble(
    studies: Studies,
    *,
    name: str,
    recipe: str | Path = DEFAULT_RECIPE,
    folds: OverFolds | None = None,
    store: AnyStore | None = None,
    home: AnyHome = None,
    force: bool = False,
    tracking: bool = True,
    tracking_uri: str | None = None,
    note: Note = to_standard_error,
) -> OpenEnsemble:
    """Choose members and weights per target from finished trials, and save the ensemble.

    `studies`: one or several, open or by name. `recipe`: a file, or the name of one in ensembles/.
    `folds`: what members are judged on, the recipe's own by default. `store`: where it lies now if
    it was moved. The same name again takes newer trials in; another recipe or other studies need
    `force`. `tracking`: log it to MLflow. `note` takes remarks. InputError with all problems."""
    from va_search.ensemble.build import build
    from va_search.ensemble.recipe import load_recipe

    names, opened = names_and_home(studies, home)
    with opened.using("predictions", studies=names, writes=True):
        check_candidates(opened, names, note)
        chosen = load_recipe(recipe)
        if folds is not None:
            chosen = chosen.over(folds)
        built = build(opened.files, names, chosen, name, store_or_none(store), force=force)
    ensemble = OpenEnsemble(opened, built)
    # last: whatever the tracking server does, the ensemble is saved
    if tracking:
        ensemble.track(tracking_uri, note=note)
    return ensemble


def write_submissions(
    studies: Studies,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    prefix: str | None = None,
    store: AnyStore | None = None,
    home: AnyHome = None,
    tracking: bool = True,
    tracking_uri: str | None = None,
    note: Note = to_standard_error,
) -> Submissions:
    """Build the paper's five ensembles and write their submissions to folders in `out`.

    `labels`: a folder of test labels, a CSV per recording, to score on. `prefix`: how the
    ensembles' names begin, by default the first study. A strategy without trials is named in its
    row's `problem`. Other options as in `build_ensemble`."""
    from va_search.submission import strategies

    names, opened = names_and_home(studies, home)
    with opened.using("predictions", studies=names, writes=True):
        check_candidates(opened, names, note)
        submissions = strategies.write_submissions(
            opened.files,
            names,
            out=Path(out),
            store=store_or_none(store),
            labels=_path_or_none(labels),
            prefix=prefix,
            watch=lambda strategy: note(f"{strategy} …"),
        )
    for remark in submissions.remarks:
        note(f"warning: {remark}")
    if tracking:
        track_all(opened, submissions.ensembles, tracking_uri, note)
    return submissions


def track_all(
    home: OpenHome, ensembles: Sequence[Ensemble], tracking_uri: str | None, note: Note
) -> None:
    """Log ensembles to MLflow; the first failure ends it, since the next would fail alike."""
    for document in ensembles:
        if not OpenEnsemble(home, document).track(tracking_uri, note=note):
            return


def write_report(
    studies: Studies,
    out: str | Path,
    *,
    ensemble: str | None = None,
    store: AnyStore | None = None,
    home: AnyHome = None,
    command: str = "",
) -> Path:
    """Write tables and figures of one study or several to the folder `out`; returns its
    report.html.

    `ensemble`: the one of Tables 2 and 3, by default the newest of these studies. `command`: how
    the report says it was made. InputError for an `out` that holds other files of these names."""
    from va_search.report.write import write

    names, opened = names_and_home(studies, home)
    with opened.using("predictions", studies=names):
        check_studies(opened.files, names, lambda name, _: f"open_ensemble({name!r}).report(…)")
        return write(
            opened.files,
            names,
            store=store_or_none(store),
            out=Path(out),
            ensemble=ensemble,
            command=command,
        )


def check_candidates(home: OpenHome, studies: Sequence[str], note: Note) -> None:
    """InputError unless all are studies with complete trials; `note` hears which are being
    searched."""
    from va_search.search.extent import searched_now

    check_studies(home.files, studies, lambda name, _: f"open_ensemble({name!r})")
    check_complete(home.files, studies)
    for sentence in searched_now(home.files, studies):
        note(sentence)


def store_or_none(store: AnyStore | None) -> Store | None:
    """The open store; None where none is named."""
    if store is None:
        return None
    return open_store(store)


def _path_or_none(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
