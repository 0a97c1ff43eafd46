"""A study on the disk: one search over one space, and everything it must remember between two runs
of `search`.

    studies/<study>/
      study.json        space (plain data), store, content hashes when it began, seconds spent, warm_start,
                        how the space changed between searches
      asked.jsonl       one line per trial that was ever asked for: trial id, settings, and the choices of the
                        space that they come from (configuration; not in lines of older versions)
      failures/<trial>.json   settings and traceback of a trial whose last training failed
      running/<trial>/  checkpoint of a trial that is being trained, or was when its search ended: saves.py
      worth.json        what the ensemble was expected to gain in a further hour: worth.py
      spent/<run>.json  time and device time of each process that searched: spending.py
      tracking.json     why MLflow takes nothing, while it does not
      pause.json        why the search is paused, while it is
      experiment.json   where MLflow has the study: store or server, and the experiment's id
      live/<process>.json     how the trials go that a process trains, while it does: live.py
      lock, searchers/  held by the processes that search: searchers.py
      stop              asks them to stop, as Ctrl-C would

What is complete is told by the bank alone; these files only say what was asked and what went wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError, JobError, unknown_name
from va_search.files import checked_name, read_json, remove_folder, write_json
from va_search.home import Home
from va_search.locks import in_use, one_after_another
from va_search.models.sources import keep
from va_search.predictions.bank import Bank
from va_search.search.housekeeping import refuse_pending
from va_search.search.searchers import Searchers
from va_search.tracking.links import (
    Experiment,
    TrialsPage,
    experiment_in_database,
    location_of,
    trials_page,
)
from va_search.trial import Failure, Trial, TrialState, known_settings


@dataclass(frozen=True)
class Study:
    """The files of one study; `Study(home, name)` touches nothing."""

    home: Home
    name: str

    @property
    def folder(self) -> Path:
        return self.home.study(self.name)

    @property
    def scratch(self) -> Path:
        """A folder of this process for Tune's own files."""
        return Searchers(self.folder).scratch

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    def exists(self) -> bool:
        return (self.folder / "study.json").is_file()

    def check_exists(self) -> None:
        """JobError where a study that was searched is gone, with its home or without."""
        if not self.exists():
            raise JobError(f"{self.folder}: the study is not there any more")

    def document(self) -> dict[str, Any]:
        """The content of study.json; InputError naming the known studies when there is none."""
        if not self.exists():
            unknown = unknown_name("study", self.name, self.home.searched)
            raise InputError(f"{self.home.root}: {unknown}")
        path = self.folder / "study.json"
        again = "remove this file and search again: finished trials are in the bank"
        try:
            document: dict[str, Any] = read_json(path)
        except InputError as error:
            raise InputError(f"{error}; {again}") from error
        if not is_study_document(document):
            raise InputError(f"{path}: not a study's file; {again}")
        return document

    @property
    def warm_start(self) -> list[str]:
        """The studies that its sampler learns from as well; none for a new study."""
        return list(self.document().get("warm_start", [])) if self.exists() else []

    @contextmanager
    def searching(self, *, join: bool = False) -> Iterator[Searchers]:
        """Context in which this process searches the study: alone, or with `join` beside others.

        A request to stop counts from when the first of them began.
        InputError where the study is searched and can't be joined, or is not to be."""
        searchers = Searchers(self.folder)
        searchers.enter(join=join)
        try:
            refuse_pending(self.home, self.name)
            if searchers.leads and not searchers.others():
                searchers.clear()
                self.forget_stop()
                # Of a search that was killed.
                self.note_pause(None)
                remove_folder(self.folder / "live")
            yield searchers
        finally:
            searchers.leave()

    @property
    def is_searched(self) -> bool:
        """True while a living process searches the study."""
        return in_use(self.folder / "lock") or bool(self.searchers())

    def searchers(self) -> list[str]:
        """Return the processes that search the study, as `<pid> on <host>`."""
        return Searchers(self.folder).all()

    def ask_to_stop(self) -> bool:
        """Ask all processes that search the study to stop; False when there are none, and then
        nothing is asked."""
        if not self.is_searched:
            return False
        write_json(self.folder / "stop", {"asked_at": now()})
        return True

    @property
    def stop_asked(self) -> bool:
        return (self.folder / "stop").is_file()

    def forget_stop(self) -> None:
        """A request to stop was heeded, or came too late for the search that it meant."""
        (self.folder / "stop").unlink(missing_ok=True)

    def note_tracking(self, problem: str | None) -> None:
        """Keep why MLflow takes nothing at the moment, for whoever asks for the study's status;
        None: it does again."""
        self._note_problem("tracking.json", problem)

    @property
    def tracking_problem(self) -> str | None:
        """The reason for which MLflow took nothing when last tried, and since when; None where there
        is no trouble."""
        return self._noted_problem("tracking.json")

    def note_experiment(self, uri: str, experiment: str) -> None:
        """Keep where MLflow has the study, without a password, so that its page can be named; not
        where that is the home's own database, which is asked itself, wherever the home is moved."""
        location = location_of(uri, experiment)
        with suppress(OSError, JobError):
            if uri == self.home.tracking_uri:
                (self.folder / "experiment.json").unlink(missing_ok=True)
                return
            if self.exists() and location != self._noted_experiment():
                write_json(self.folder / "experiment.json", asdict(location))

    @property
    def trials_page(self) -> TrialsPage | None:
        """The page of MLflow that lists the trials; None where MLflow does not have the study."""
        experiment = self._noted_experiment() or experiment_in_database(self.home, self.name)
        return None if experiment is None else trials_page(self.home, experiment)

    def _noted_experiment(self) -> Experiment | None:
        with suppress(InputError, TypeError, OSError):
            return Experiment(**read_json(self.folder / "experiment.json"))
        return None

    def note_pause(self, problem: str | None) -> None:
        """Keep why the search is paused, for whoever asks for the study's status; None: it goes
        on."""
        self._note_problem("pause.json", problem)

    @property
    def pause_problem(self) -> str | None:
        """The reason for which the search is paused, and since when; None where it is not, or the
        study is not searched at all."""
        return self._noted_problem("pause.json") if self.is_searched else None

    def _note_problem(self, name: str, problem: str | None) -> None:
        path = self.folder / name
        with suppress(OSError, JobError):  # a full disk: a note, and no reason to end anything
            if problem is None:
                path.unlink(missing_ok=True)
            elif self.exists():  # a home that is away is not made anew
                write_json(path, {"problem": problem, "since": now()})

    def _noted_problem(self, name: str) -> str | None:
        try:
            document = read_json(self.folder / name)
            return f"{document['problem']} (since {document['since']})"
        except (InputError, KeyError, TypeError):
            return None

    def check(self, store: Store) -> dict[str, Any] | None:
        """The content of `study.json`, None for a new study; InputError when data it was begun on
        changed since."""
        noted = self.document() if self.exists() else None
        if noted is not None:
            _check_unchanged(self.name, store, noted["hashes"])
        return noted

    def begin(
        self,
        store: Store,
        space: dict[str, Any],
        *,
        warm_start: Sequence[str] = (),
        changes: Sequence[str] = (),
        joins: bool = False,
    ) -> None:
        """Note store, space, studies to learn from and what of the space changed.

        `joins`: other processes search the study by now. InputError when data that the study was
        begun on has changed since."""
        keep(space, self.folder / "code")
        with self._changing():
            self._note(store, space, warm_start, changes)
        if not joins:
            self._forget_checkpoints()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Context in which no other process changes study.json."""
        with one_after_another(self.folder / "searchers" / "document"):
            yield

    def _note(
        self,
        store: Store,
        space: dict[str, Any],
        warm_start: Sequence[str],
        changes: Sequence[str],
    ) -> None:
        noted = self.check(store) or {}
        earlier_changes = noted.get("space_changes", [])
        if changes:
            earlier_changes = [*earlier_changes, {"at": now(), "changes": list(changes)}]
        document = {
            "study": self.name,
            "began_at": noted.get("began_at") or now(),
            "seconds": noted.get("seconds", 0.0),
            "store": store.name,
            "store_path": store.place,
            "hashes": {**noted.get("hashes", {}), **content_hashes(store)},
            "space": space,
            "warm_start": [*dict.fromkeys([*noted.get("warm_start", []), *warm_start])],
            "space_changes": earlier_changes,
            "package_version": __version__,
        }
        write_json(self.folder / "study.json", document)

    def _forget_checkpoints(self) -> None:
        """Remove what a kill between a trial's end and its checkpoint's left."""
        for checkpoint in (self.folder / "running").glob("*"):
            if self.bank.is_complete(self.name, checkpoint.name):
                remove_folder(checkpoint)

    def spend(self, seconds: float) -> None:
        """Add wall-clock seconds of searching to what the study has spent."""
        with self._changing():
            document = self.document()
            write_json(
                self.folder / "study.json", {**document, "seconds": document["seconds"] + seconds}
            )

    def ask(
        self,
        trial: str,
        settings: dict[str, Any],
        configuration: dict[str, Any] | None = None,
    ) -> None:
        """Append a trial to the list of those asked for, on the disk before it starts.

        `configuration`: the sampler's choices that the settings come from, where they are known."""
        entry: dict[str, Any] = {"trial": trial, "settings": settings}
        if configuration is not None:
            entry["configuration"] = configuration
        line = json.dumps(entry) + "\n"
        with open(self.folder / "asked.jsonl", "ab+") as ledger:
            if ledger.tell():
                ledger.seek(-1, os.SEEK_END)
                line = (
                    line if ledger.read(1) == b"\n" else "\n" + line
                )  # the line before was cut by a kill
            ledger.write(line.encode())
            ledger.flush()
            os.fsync(ledger.fileno())

    def asked(self) -> Iterator[Trial]:
        """Yield every trial asked for so far, oldest first, whatever became of it; a line cut by a
        kill is left out."""
        path = self.folder / "asked.jsonl"
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            trial = self._asked_trial(line)
            if trial is not None:
                yield replace(trial, settings=known_settings(trial.settings_json))

    def asked_since(self, position: int) -> tuple[list[Trial], int]:
        """Return the trials asked for since the list was so many bytes long, and its length now.

        Their settings stand in `settings_json` alone: of thousands of trials they are read where
        they are needed (`known_settings`)."""
        try:
            with open(self.folder / "asked.jsonl", "rb") as ledger:
                ledger.seek(position)
                whole_lines = ledger.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return [], position
        if not whole_lines:
            return [], position
        trials = []
        for line in whole_lines.decode(errors="replace").splitlines():
            trial = self._asked_trial(line)
            if trial is not None:
                trials.append(trial)
        return trials, position + len(whole_lines) + 1

    def _asked_trial(self, line: str) -> Trial | None:
        """Return the trial in a line of asked.jsonl, its settings as JSON only; None for a line cut
        by a kill."""
        try:
            entry = json.loads(line)
            name = checked_name(entry["trial"], "trial")
            settings = dict(entry["settings"])
        except (InputError, ValueError, KeyError, TypeError):
            return None
        return Trial(
            study=self.name,
            id=name,
            state=TrialState.ASKED,
            settings_json=settings,
            configuration=entry.get("configuration"),
        )

    def record_failure(self, trial: str, settings: dict[str, Any], failed: str) -> Trial:
        """Keep a failed training's traceback; return the failed trial, which tracking gets."""
        record = Trial(
            study=self.name,
            id=trial,
            state=TrialState.FAILED,
            settings=known_settings(settings),
            settings_json=settings,
            failure=Failure(failed),
            package_version=__version__,
            finished_at=now(),
        )
        path = self.folder / "failures" / f"{checked_name(trial, 'trial')}.json"
        write_json(path, record.to_json())
        return record

    def forget_failure(self, trial: str) -> None:
        """The trial is complete now."""
        (self.folder / "failures" / f"{checked_name(trial, 'trial')}.json").unlink(missing_ok=True)

    def failures(self) -> list[Trial]:
        """Return the trials whose last training failed, sorted by id."""
        failed = []
        for path in sorted((self.folder / "failures").glob("*.json")):
            # gone between listing and reading: complete now; or damaged: tried again
            with suppress(InputError, ValueError):
                trial = Trial.from_json(read_json(path))
                if trial.state is TrialState.FAILED:
                    failed.append(trial)
        return failed


def is_study_document(document: Any) -> bool:
    """Return True for the content of a study.json: everything in it that is read, of its kind."""
    needed = {"began_at": (str,), "seconds": (int, float), "hashes": (dict,), "space": (dict,)}
    optional = {"store_path": (str,), "warm_start": (list,), "space_changes": (list,)}
    if not isinstance(document, dict) or not needed.keys() <= document.keys():
        return False
    kinds: dict[str, tuple[type, ...]] = {**needed, **optional}
    return all(isinstance(document[name], kinds[name]) for name in kinds if name in document)


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def content_hashes(store: Store) -> dict[str, str]:
    """Return the hashes of all data that a study's trials depend on, by name."""
    hashes = {
        **store.hashes,
        **{f"feature set {name}": entry.hash for name, entry in store.feature_sets.items()},
    }
    return hashes if store.folds_hash is None else {**hashes, "folds": store.folds_hash}


def _check_unchanged(study: str, store: Store, noted: Mapping[str, str]) -> None:
    """Refuse a store whose content has other hashes than were `noted` when the study began."""
    problems = []
    hashes = content_hashes(store)
    for name, value in noted.items():
        if name in hashes and hashes[name] != value:
            change = f"{value[:12]} → {hashes[name][:12]}"
            problems.append(
                f"{store.path}: {name} changed since study {study!r} began ({change}); its "
                "trials would not line up: use another --study name, or the store it began with"
            )
    if problems:
        raise InputError(*problems)
