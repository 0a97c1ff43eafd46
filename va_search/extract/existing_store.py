"""A store that feature sets are added to: the sets it has already, and the recordings, videos and
labels it was made from.

Conventions: everything is compared before hours of work, and InputError tells every difference. A
feature set is the same when its definition, a hash of its settings, weights and faces, is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.draft import give_stimuli
from va_search.data.importing import differences
from va_search.data.problems import PROBLEMS_SHOWN, and_more, first_few
from va_search.data.readers import where
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.annotations import Annotations
from va_search.extract.frames import labels_of
from va_search.extract.recipe import ExtractionRecipe
from va_search.extract.sources import Job
from va_search.extract.timeline import Timeline
from va_search.files import read_json
from va_search.targets import ranges_of

READERS = 8
"""Files that are read at once."""


class ExistingStore:
    """The store at `path`, by its manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store.open(path)
        self._manifest: dict[str, Any] = read_json(path / "manifest.json")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Recordings that the store was made without, by name."""
        return tuple(self._manifest.get("left_out", ()))

    def lacks(
        self, recipe: ExtractionRecipe, definitions: Mapping[str, str], dtype: str
    ) -> ExtractionRecipe:
        """The recipe without the feature sets that the store has.

        InputError for a set that the store has of another definition or another dtype."""
        store_definitions = self._manifest.get("definitions", {})
        lacking = []
        made_otherwise: list[str] = []
        other_dtypes: list[str] = []
        for feature_set in recipe.feature_sets:
            name = feature_set.name
            if name not in self.store.feature_sets:
                lacking.append(feature_set)
                continue
            if store_definitions.get(name) != definitions[name]:
                made_otherwise.append(
                    f"{self.path}: feature set {name!r} is there already and was made otherwise "
                    "(settings, weights, faces or an earlier version); name it otherwise in the "
                    "recipe, or extract into another store"
                )
            store_dtype = self.store.feature_sets[name].dtype
            if store_dtype != dtype:
                other_dtypes.append(
                    f"{self.path}: feature set {name!r} is there as {store_dtype}, not as {dtype}; "
                    f"give --dtype {store_dtype}, or extract into another store"
                )
        problems = made_otherwise or other_dtypes
        if problems:
            raise InputError(*problems)
        return replace(recipe, feature_sets=tuple(lacking))

    def check_sources(self, jobs: Sequence[Job], annotations: Annotations) -> None:
        """InputError when these are not the recordings, videos, targets and labels that the store
        was made from; a store that was made without stimuli is given them."""
        recordings = {job.name: (job.split, job.subject, job.rows) for job in jobs}
        # In this order: videos and labels are read only where the recordings are the store's.
        problems = differences(self.store, recordings, "what is given now")
        if self.store.targets != annotations.targets:
            problems.append(
                f"{self.path}: {ranges_of(self.store.targets)}, but {ranges_of(annotations.targets)} "
                "now"
            )
        problems = problems or self._other_videos(jobs)
        problems = problems or self._other_labels(jobs, annotations)
        if problems:
            raise InputError(
                *first_few(problems, PROBLEMS_SHOWN),
                f"{self.path}: give the --videos, --annotations, --sample and --subjects it was "
                "made from, or extract into another store",
            )
        self._take_stimuli(jobs)

    def _take_stimuli(self, jobs: Sequence[Job]) -> None:
        """Give the store the stimuli of these recordings, where it was made without; InputError
        where it has others."""
        stimuli = {job.name: job.stimulus for job in jobs if job.stimulus is not None}
        if not stimuli:
            return
        if not give_stimuli(self.path, stimuli):
            raise InputError(
                f"{self.path}: the stimuli of its recordings are others than those given now, and "
                "folds may have been made of them; give those it was made with, or extract into "
                "another store"
            )
        self.store = Store.open(self.path)

    def _other_videos(self, jobs: Sequence[Job]) -> list[str]:
        """Videos that were replaced since, by their size, which a copy keeps and a new encoding
        does not."""
        notes = self._manifest.get("notes", {})
        problems = []
        for job in jobs:
            sound = job.sound or job.beside
            for file, key in ((job.video, "video_bytes"), (sound, "sound_bytes")):
                expected = notes.get(job.name, {}).get(key)
                if file is None or expected in (None, file.stat().st_size):
                    continue
                problems.append(
                    f"{file}: {file.stat().st_size:,} bytes, {expected:,} when {self.path} was made "
                    "from it"
                )
        return problems

    def _other_labels(self, jobs: Sequence[Job], annotations: Annotations) -> list[str]:
        stored = [
            self.store.annotations[recording.start : recording.stop]
            for recording in self.store.recordings
        ]
        problems: list[str] = []
        with ThreadPoolExecutor(READERS) as pool:
            for job_problems in pool.map(_label_problems, jobs, stored, repeat(annotations)):
                problems += job_problems
        return problems

    def gap_remarks(self, jobs: Sequence[Job], timelines: Mapping[Path, Timeline]) -> list[str]:
        """A remark where the store has other gaps than its videos: it was made otherwise."""
        recordings = {recording.name: recording for recording in self.store.recordings}
        names = []
        for job in jobs:
            recording = recordings[job.name]
            if timelines[job.video].gaps(recording.frames) != recording.gaps:
                names.append(job.name)
        if not names:
            return []
        return [
            f"recording {names[0]!r}{and_more(len(names) - 1)}: the gaps in time are others than "
            f"its video has (an earlier version made {self.path}, or an import); they stay. To "
            "have those of the video, extract all into another store"
        ]

    def includes(self, adding: Path) -> bool:
        """True where a kill came after the feature sets of the store at `adding` were added."""
        if not adding.exists():
            return False
        # Read anew: another process may have added since.
        added, present = (
            read_json(path / "manifest.json").get("definitions", {}) for path in (adding, self.path)
        )
        return bool(added.items() <= present.items())


def _label_problems(job: Job, stored: NDArray[np.float32], annotations: Annotations) -> list[str]:
    """Differences between a recording's label file and its (frames, targets) labels in the
    store."""
    try:
        read = labels_of(annotations, job)
    except InputError as error:
        return error.problems
    if read is None or job.labels is None:
        return []
    labels = read.astype(np.float32)
    if len(labels) != len(stored):
        return [f"{job.labels}: {len(labels)} labels, {len(stored)} in the store"]
    # A frame without a label is NaN in both.
    differs = (labels != stored) & ~(np.isnan(labels) & np.isnan(stored))
    rows = np.flatnonzero(differs.any(axis=1))
    if not rows.size:
        return []
    row = int(rows[0])
    # Frames that a clock makes need not be the file's rows.
    position = f"{job.labels}: frame {row + 1}"
    if not annotations.make_frames:
        position = where(job.labels, row)
    return [f"{position}: another label than in the store{and_more(rows.size - 1)}"]
