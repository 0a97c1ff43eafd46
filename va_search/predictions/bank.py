"""The bank: predictions of finished trials and of outside models, one folder per trial.

    bank/<study>/<trial>/
      validation.arrow, test.arrow        one column a target (float32), one row for every frame of the split
      <target>.safetensors                weights of each target's best epoch (trained trials that keep them)
      trial.json                          written last: its presence means complete; sealed (seals.py)

Conventions: rows follow the store's own frame order, predictions are on the targets' scales and
finite; what they line up with is told by `frames_hash` (recordings and lengths) and checked on
reading, so two trials can't be mixed up. `trial.json` has a seal over itself and every other file:
what is not as it was written is never read. Records from before there were seals are sealed when
their predictions are read first; where they can't be (another user's folder, a working copy of a
home at a URL) types, lengths and values are checked each time. Everything that writes a record
goes through `_write_record`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.arrow_files import open_arrow
from va_search.errors import InputError, JobError, unknown_name
from va_search.files import checked_name, safe_names, whole_file
from va_search.predictions.records import (
    RECORD,
    DamagedRecord,
    SealedTrial,
    Signature,
    files_beside,
    note_sealed,
    note_unsealed,
    record_document,
    record_names,
    signature_of,
    warn_of_damaged,
    write_record,
)
from va_search.seals import (
    SEAL,
    FileSeals,
    check_inside,
    damages,
    is_as_sealed,
    is_verified,
    read_seal,
    seal_files,
)
from va_search.trial import PredictedSplit, Trial
from va_search.verified import SETTLED, user_cache

PREDICTED = ("validation", "test")


@dataclass(frozen=True)
class Predictions:
    """One split's predictions: `values` (frames, targets) float32 on the targets' scales, and what
    they line up with."""

    values: NDArray[np.float32]
    frames_hash: str


SEALED: dict[Path, tuple[Signature, SealedTrial]] = {}
"""Records that this process has read and checked, as long as their files are not touched."""


class Bank:
    """The predictions under one folder (`Home.bank`).

    `has_records`: False for weights that were copied without their records, into a bundle with a
    seal of its own that was checked."""

    def __init__(self, root: Path, *, has_records: bool = True) -> None:
        self.root = root
        self.has_records = has_records

    def folder(self, study: str, trial: str) -> Path:
        """Return a trial's folder; InputError for names that are no names, and DamagedRecord for a
        link that leads out of the bank."""
        return self._inside(f"{checked_name(study, 'study name')}/{checked_name(trial, 'trial')}")

    def _inside(self, name: str, advice: str = "") -> Path:
        try:
            check_inside(self.root, name)
        except InputError as error:
            raise DamagedRecord(f"{error}{advice}") from error
        return self.root / name

    @property
    def is_working_copy(self) -> bool:
        """True for this machine's copy of a bank at a URL."""
        return self.root.resolve().is_relative_to(user_cache() / "homes")

    def write(self, trial: Trial, predictions: Mapping[str, Predictions]) -> None:
        """Write predictions by split, then `trial.json`: only now is the trial complete.

        `trial.predictions` are set here. Any other file the trial keeps (weights) must be in the
        folder before."""
        folder = self.folder(trial.study, trial.id)
        predicted = {}
        for split, prediction in predictions.items():
            _write_split(folder / f"{split}.arrow", prediction, trial.target_names)
            predicted[split] = PredictedSplit(len(prediction.values), prediction.frames_hash)
        complete = replace(trial, predictions=predicted)
        write_record(folder, complete.to_json(), seal_files(folder, files_beside(folder)))

    def is_complete(self, study: str, trial: str) -> bool:
        return (self.folder(study, trial) / RECORD).is_file()

    def studies(self) -> list[str]:
        """Names of the studies with at least one complete trial; folders that can't be a study's
        are passed over with a warning."""
        return safe_names((path.parent.parent for path in self.root.glob(f"*/*/{RECORD}")), "study")

    def trials(self, study: str) -> list[str]:
        """Complete trials of a study, sorted by id; folders that can't be a trial's are passed over
        with a warning."""
        return record_names(self.root / checked_name(study, "study name"))

    def trial(self, study: str, trial: str) -> Trial:
        """Return a complete trial; DamagedRecord when its `trial.json` is not as it was written."""
        return self._record(study, trial)[0]

    def whole_trials(self, study: str) -> tuple[list[Trial], int]:
        """Return the trials whose record and predictions are as they were written, sorted by id,
        and the number of the others, of which a warning says what to do."""
        trials, files, problems = [], {}, {}
        for name in self.trials(study):
            try:
                trial, facts = self._opened(study, name)
            except InputError as error:
                problems[name] = error
                continue
            trials.append(trial)
            for split in trial.predictions:
                file = f"{split}.arrow"
                if facts.files is not None and file in facts.files:
                    files[f"{study}/{name}/{file}"] = facts.files[file]
        # All files of the study at once: the first time they are hashed, several side by side.
        for path, reason in damages(self.root, files).items():
            _, name, file = path.split("/")
            problems.setdefault(name, self._damaged(study, name, file, reason))
        warn_of_damaged(self.root / study, list(problems.values()))
        return [trial for trial in trials if trial.id not in problems], len(problems)

    def check(self, study: str, trial: str, suffix: str = "") -> None:
        """DamagedRecord, that names each, unless a trial's record and its files with this suffix,
        by default all, are as they were written."""
        sealed_files = self._sealed(study, trial).files or {}
        files = {name: seal for name, seal in sealed_files.items() if name.endswith(suffix)}
        problems: list[str] = []
        for name, reason in damages(self.folder(study, trial), files).items():
            problems += self._damaged(study, trial, name, reason).problems
        if problems:
            raise DamagedRecord(*problems)

    def seal(self, study: str, trial: str) -> str | None:
        """Return 64 hex digits that stand for the content of all files of a trial; None where it
        has no seal, and can't be given one."""
        return self._sealed(study, trial).seal

    def readable_trial(self, study: str, trial: str) -> Trial | None:
        """Return a complete trial; None, with a warning that says what to do, when its record is
        damaged."""
        try:
            return self.trial(study, trial)
        except DamagedRecord as error:
            warn_of_damaged(self.root / study, [error], is_continued=True)
            return None

    def each_trial(self, study: str) -> Iterator[Trial]:
        """Yield a study's complete trials, sorted by id; damaged ones are left out, with one warning
        at the end."""
        damaged = []
        try:
            for name in self.trials(study):
                try:
                    yield self.trial(study, name)
                except DamagedRecord as error:
                    damaged.append(error)
        finally:
            warn_of_damaged(self.root / study, damaged)

    def outlines(self, study: str) -> tuple[list[Trial], list[DamagedRecord]]:
        """Return a study's complete trials, sorted by id, without settings and history, which takes
        a third of the time of reading them whole; and the errors of damaged ones."""
        trials: list[Trial] = []
        damaged: list[DamagedRecord] = []
        for name in self.trials(study):
            try:
                trials.append(self._record(study, name, is_outline=True)[0])
            except DamagedRecord as error:
                damaged.append(error)
        return trials, damaged

    def holders(self, trial: str) -> list[str]:
        """Return the studies in which `trial` is complete, whoever trained it, sorted."""
        records = self.root.glob(f"*/{checked_name(trial, 'trial')}/{RECORD}")
        return safe_names((path.parent.parent for path in records), "study")

    def adopt(self, study: str, trial: str, *, source: str, link: bool = True) -> bool:
        """Make a trial that study `source` completed complete in `study` too, without a second copy
        on the disk; False, with a warning, where it is damaged.

        Not `link` for a home at a URL: a file there has the time it was put, and one file has one
        time for both names."""
        adopted, trained = self.folder(study, trial), self.folder(source, trial)
        contents = files_beside(trained)
        for name in contents:
            if (trained / name).exists() and not os.access(trained / name, os.R_OK):
                raise InputError(_no_permission(trained / name))
        try:
            self.check(source, trial)
        except DamagedRecord as error:
            warn_of_damaged(self.root / source, [error], is_continued=True)
            return False
        adopted.mkdir(parents=True, exist_ok=True)
        for name in contents:
            _take(trained / name, adopted / name, link=link)
        # Changed as a file, not as a Trial: what only another version knows stays in it.
        _, document, files = self._record(source, trial)
        files = files or seal_files(adopted, contents)
        write_record(adopted, {**document, "study": study, "trained_in": source}, files)
        return True

    def read(self, study: str, trial: str, split: str, *, frames_hash: str) -> NDArray[np.float32]:
        """(frames, targets) predictions of a split; InputError when missing, damaged, or made for
        other frames."""
        table = self._table(study, trial, split, frames_hash)
        return np.stack([_values(table, name) for name in table.column_names], axis=1)

    def column(
        self,
        study: str,
        trial: str,
        split: str,
        target: str,
        *,
        frames_hash: str,
        is_mapped: bool = False,
    ) -> NDArray[np.float32]:
        """(frames,) one target of a split's predictions, read-only; errors as in `read`, and for a
        target that the trial does not predict.

        `is_mapped` leaves them in the file, for those who hold a thousand of them at once."""
        table = self._table(study, trial, split, frames_hash, is_mapped=is_mapped)
        if target not in table.column_names:
            raise InputError(
                f"{self.folder(study, trial)}/{split}.arrow: "
                + unknown_name("target", target, table.column_names)
            )
        return _values(table, target)

    def columns(
        self, study: str, trial: str, split: str, *, frames_hash: str
    ) -> dict[str, NDArray[np.float32]]:
        """(frames,) predictions of every target of a split, read-only, left in the file; errors as
        in `read`."""
        table = self._table(study, trial, split, frames_hash, is_mapped=True)
        return {name: _values(table, name) for name in table.column_names}

    def weights(self, study: str, trial: str, target: str) -> Path:
        """Return the file that a trial has for a target where it keeps weights, checked where it is
        there; DamagedRecord when it is not as it was written."""
        name = checked_name(f"{target}.safetensors", "file of weights")
        path = self.folder(study, trial) / name
        if not self.has_records:
            return path
        files = self._sealed(study, trial).files or {}
        if name in files or path.is_file():
            self._verify(study, trial, name)
        return path

    def _table(
        self, study: str, trial: str, split: str, frames_hash: str, *, is_mapped: bool = False
    ) -> pa.Table:
        path = self.folder(study, trial) / f"{split}.arrow"
        if not path.is_file():
            raise InputError(
                f"{path}: missing; trial {trial} of study {study!r} has no {split} predictions"
            )
        facts = self._sealed(study, trial)
        self._verify(study, trial, path.name)
        table = self._checked_table(study, trial, split, facts, is_mapped=is_mapped)
        actual = (table.schema.metadata or {}).get(b"frames_hash", b"").decode(errors="replace")
        if actual != frames_hash:
            raise InputError(
                f"{path}: predictions are for other frames (hash {actual[:12]}, expected {frames_hash[:12]}): "
                "another fold, or a store that changed since"
            )
        return table

    def _checked_table(
        self, study: str, trial: str, split: str, facts: SealedTrial, *, is_mapped: bool = False
    ) -> pa.Table:
        """A split's predictions: the targets' columns, of the length in the record, all finite."""
        path = self.folder(study, trial) / f"{split}.arrow"
        schema = pa.schema([(name, pa.float32()) for name in facts.targets])
        predicted = facts.predictions.get(split)
        rows = None if predicted is None else predicted.frames
        try:
            table = open_arrow(path, schema, rows, is_mapped=is_mapped)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise self._damaged(study, trial, path.name, reason) from error
        for name in table.column_names:
            if not _is_finite(_values(table, name)):
                reason = f"{name} is NaN or infinite in some frame, expected numbers"
                raise self._damaged(study, trial, path.name, reason)
        return table

    # --- Records and seals ------------------------------------------------------------------------

    def _record(
        self, study: str, trial: str, *, is_outline: bool = False
    ) -> tuple[Trial, dict[str, Any], FileSeals | None]:
        """A complete trial (of an outline without settings and history), its record as it stands in
        the file, and the seals in that; DamagedRecord when it is not as it was written, or is
        another trial's."""
        name = f"{checked_name(study, 'study name')}/{checked_name(trial, 'trial')}/{RECORD}"
        advice = self._advice(study, trial)
        path = self._inside(name, f"; {advice}")
        document = record_document(path, advice)
        try:
            files = None
            # An outline names no files: it is enough that the record is as it was sealed.
            if not (is_outline and is_as_sealed(document)):
                files = read_seal(path, self._as_sealed(document, trial), advice)
            without = {"settings": None, "history": ()} if is_outline else {}
            complete = Trial.from_json({**document, **without})
        except InputError as error:
            raise DamagedRecord(*error.problems) from error
        except ValueError as error:
            raise self._damaged(study, trial, RECORD, str(error)) from error
        if (complete.study, complete.id) != (study, trial):
            reason = f"it is the record of trial {complete.id} of study {complete.study!r}"
            raise self._damaged(study, trial, RECORD, reason)
        return complete, document, files

    def _as_sealed(self, document: dict[str, Any], trial: str) -> dict[str, Any]:
        """The document that the seal in a record is over.

        An earlier version, which knows no seals, takes a sealed trial over from another study with
        its seal as it is, though it writes the study anew; its files are the same."""
        source = document.get("trained_in")
        if SEAL not in document or not isinstance(source, str) or is_as_sealed(document):
            return document
        trained = {**document, "study": source}
        del trained["trained_in"]
        # The source may have taken it over itself.
        origins = [{"trained_in": study} for study in self.holders(trial)]
        for origin in ({}, *origins):
            if is_as_sealed({**trained, **origin}):
                return {**trained, **origin}
        return document

    def _sealed(self, study: str, trial: str) -> SealedTrial:
        """Return what a trial's files are checked by, as it was read before if it was."""
        path = self.folder(study, trial) / RECORD
        remembered = SEALED.get(path)
        if remembered is not None and remembered[0] == signature_of(path):
            return remembered[1]
        return self._opened(study, trial)[1]

    def _opened(self, study: str, trial: str) -> tuple[Trial, SealedTrial]:
        """Read a record, and seal it now where it is from before there were seals and that is
        possible."""
        path = self.folder(study, trial) / RECORD
        signature = signature_of(path)
        complete, document, files = self._record(study, trial)
        facts = SealedTrial(files, complete.target_names, complete.predictions)
        if files is None:
            facts = self._seal_now(study, trial, document, facts)
        # A file that was written just now could be written again without another time.
        if signature is not None and signature[2] < time_ns() - int(SETTLED * 1e9):
            SEALED[path] = signature, facts
        return complete, facts

    def _seal_now(
        self, study: str, trial: str, document: Mapping[str, Any], facts: SealedTrial
    ) -> SealedTrial:
        """Seal a record from before, once its predictions are checked; as it is where the folder
        can't be written to."""
        folder = self.folder(study, trial)
        signature = signature_of(folder / RECORD)
        for split in facts.predictions:
            if (folder / f"{split}.arrow").is_file():
                self._checked_table(study, trial, split, facts)
        if self.is_working_copy:  # its other files may not have been brought
            note_unsealed(self.root)
            return facts
        try:
            files = seal_files(folder, files_beside(folder))
            # Somebody may have written it anew, or sealed it, meanwhile.
            if signature_of(folder / RECORD) == signature:
                write_record(folder, document, files)
        except (InputError, JobError, OSError):
            note_unsealed(self.root)
            return facts
        note_sealed(self.root)
        return replace(facts, files=files)

    def _verify(self, study: str, trial: str, name: str) -> None:
        """DamagedRecord unless a file of a trial is as it was sealed."""
        folder, files = self.folder(study, trial), self._sealed(study, trial).files
        if files is None:
            return
        if name not in files:
            raise self._damaged(study, trial, name, "not among the files that the trial wrote")
        path = folder / name
        if is_verified(path, files[name].sha256) and not path.is_symlink():
            return
        for reason in damages(folder, {name: files[name]}).values():
            raise self._damaged(study, trial, name, reason)

    def _damaged(self, study: str, trial: str, file: str, reason: str) -> DamagedRecord:
        path = self.folder(study, trial) / file
        kind = "damaged record" if file == RECORD else "damaged"
        if path.exists() and not os.access(path, os.R_OK):
            return DamagedRecord(_no_permission(path))
        state = reason if reason == "missing" else f"{kind} ({reason})"
        return DamagedRecord(f"{path}: {state}; {self._advice(study, trial)}")

    def _advice(self, study: str, trial: str) -> str:
        folder = self.root / study / trial
        if trial.startswith("outside-"):
            return (
                "its model is left out. To have it again, remove the folder "
                f"{folder} and add it again (va-search bank add)"
            )
        return (
            f"its trial is left out. To train it again, remove the folder {folder} and search again"
        )

    def retract(self, study: str, trial: str) -> None:
        """Make a complete trial incomplete, so that it can be written anew; a kill in between
        leaves no mixture."""
        (self.folder(study, trial) / RECORD).unlink(missing_ok=True)


def _values(table: pa.Table, target: str) -> NDArray[np.float32]:
    """(frames,) without a copy; DLPack because Arrow's `to_numpy` imports pandas, a third of a
    second."""
    chunks = table.column(target)
    if chunks.num_chunks == 0:  # a split without frames
        return np.empty(0, dtype=np.float32)
    column = chunks.combine_chunks() if chunks.num_chunks > 1 else chunks.chunk(0)
    return np.asarray(np.from_dlpack(column), dtype=np.float32)


def _is_finite(values: NDArray[np.float32]) -> bool:
    """True where all values are numbers."""
    # NaN and infinity are in the sum, which is quicker; a sum may also be too large for float32.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _write_split(path: Path, prediction: Predictions, targets: Sequence[str]) -> None:
    values = prediction.values
    is_whole = values.ndim == 2 and values.shape[1] == len(targets) and np.isfinite(values).all()
    if not is_whole:
        raise ValueError(
            f"predictions must be finite and (frames, {len(targets)}), but got {values.shape} for "
            f"{path.name}"
        )
    columns = {name: values[:, index].astype(np.float32) for index, name in enumerate(targets)}
    table = pa.table(columns).replace_schema_metadata({"frames_hash": prediction.frames_hash})
    with whole_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


def _take(file: Path, to: Path, *, link: bool) -> None:
    to.unlink(missing_ok=True)
    if link:
        with suppress(
            OSError
        ):  # another file system, one without hard links, or another user's file
            os.link(file, to)
            return
    try:
        shutil.copyfile(file, to)
    except PermissionError as error:
        raise InputError(_no_permission(file)) from error


def _no_permission(file: Path) -> str:
    return (
        f"{file}: no permission to read it; it belongs to user {file.owner()}, who can allow it with "
        f"`chmod -R g+rX {file.parent}`"
    )
