"""The job of predicting videos: one subject's after another, the next one extracted while one is
predicted.

Conventions: what is finished stays, whatever happens to others. A broken video stops no other; only
the machine (a full disk, no memory) does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from va_search.api.progress import Note, ProgressLine, duration, progress_line
from va_search.errors import JobError
from va_search.files import digest

if TYPE_CHECKING:
    from va_search.data.arrays import Floats
    from va_search.extract.new_videos import (
        ExtractedVideo,
        KeptFeatures,
        NewVideo,
        VideoExtractor,
    )
    from va_search.serving.video_folder import VideoFolder
    from va_search.serving.videos import SeenRecording, VideoPredictor

Group = list["NewVideo"]
"""One subject's videos."""


@dataclass
class VideoProgress:
    """Seconds of video that are done, of all; told by the threads that extract.

    `sets`: feature sets of each video. Once the job `is_over` they are to stop."""

    sets: int
    total: float = 0.0
    count: int = 0
    finished: int = 0
    name: str = ""
    line: ProgressLine | None = None
    is_over: Event = field(default_factory=Event)
    _done: float = 0.0
    _steps: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def watch(self, name: str, step: str, seconds: float) -> None:
        """Take the seconds of a video that one of its feature sets has."""
        if self.is_over.is_set():
            raise KeyboardInterrupt  # ends the extracting thread; nobody waits for its result
        if name != self.name:
            self.name = name
            self._steps = {}
        self._steps[step] = seconds
        self.show()

    def end_video(self, seconds: float) -> None:
        """Count a video as extracted."""
        self._done += seconds
        self._steps = {}
        self.finished += 1

    def show(self) -> None:
        """Show where the job is, its speed and the time left."""
        if self.line is None:
            return
        done = self._done + sum(self._steps.values()) / max(1, self.sets)
        text = f"video {min(self.finished + 1, self.count)} of {self.count}: {self.name}"
        # The first second says nothing of the speed.
        if done > 0 and self.elapsed > 1:
            speed = done / self.elapsed
            text += f", {speed:.1f} s of video per second"
            if self.total > done:
                text += f", about {duration((self.total - done) / speed)} left"
        self.line.update(text)


@dataclass
class VideoJob:
    """The predictions of `videos` into one folder. `basis`: digest of what they are made by.
    `unnameable`: the problem of each video that is left out since no file can have its name.

    Recordings that were `predicted` now, those `present` from an earlier call, and the problems of
    `broken` ones; `footage` are the seconds of video that were predicted."""

    videos: list[NewVideo]
    unnameable: dict[str, str]
    folder: VideoFolder
    extractor: VideoExtractor
    predictor: VideoPredictor
    progress: VideoProgress
    basis: str
    features: KeptFeatures | None
    remarks: list[str]
    note: Note
    predicted: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)
    rows: int = 0
    clipped: int = 0
    footage: float = 0.0
    _keys: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Predict what is missing; JobError where the machine keeps the job from going on."""
        for name, problem in self.unnameable.items():
            self._leave_out(name, [problem])
        missing = []
        for group in self._groups():
            # As the files are now: one that changes while it is read is done again next time.
            facts = [[video.name, video.identity()] for video in group]
            key = digest([self.basis, facts])
            self._keys |= dict.fromkeys([video.name for video in group], key)
            if self._missing(group):
                missing.append(group)
            else:
                self.present += [video.name for video in group]
        self.progress.count = sum(map(len, missing))
        for group in missing:
            self.progress.total += sum(video.seconds for video in group)
        if not missing:
            return
        with progress_line("reading weights …", at_once=False) as line:
            self.progress.line = line
            self.extractor.prepare()
            for extracted in self._extracted(missing):
                self._predict(extracted)

    def curves(self) -> Iterator[tuple[NewVideo, Floats, Floats, float]]:
        """Each predicted video with its (frames,) seconds, (frames, targets) values and the offset
        of its player's clock."""
        for video in self.videos:
            if self.folder.has(video.name, self._keys[video.name]):
                seconds, values = self.folder.read(video.name)
                yield video, seconds, values, self.folder.entries[video.name].offset

    def finish_features(self) -> None:
        """Make the store of kept features; not as long as videos are broken."""
        if self.features is not None and not self.broken:
            entries = self.folder.entries
            self.features.finish([(video, entries[video.name].rate) for video in self.videos])

    def _groups(self) -> list[Group]:
        """The videos by subject, in the order of each subject's first."""
        groups: dict[str, Group] = {}
        for video in self.videos:
            groups.setdefault(video.subject, []).append(video)
        return list(groups.values())

    def _missing(self, group: Group) -> Group:
        return [video for video in group if not self._has(video)]

    def _has(self, video: NewVideo) -> bool:
        """True where a video is predicted, and its features are kept if they are to be."""
        if not self.folder.has(video.name, self._keys[video.name]):
            return False
        rate = self.folder.entries[video.name].rate
        return self.features is None or self.features.has(video, rate)

    def _extracted(self, groups: Sequence[Group]) -> Iterator[list[ExtractedVideo]]:
        """The groups' features; the next group is extracted while the caller predicts one."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="extract")
        try:
            running = None
            for group in groups:
                following = pool.submit(self._extract, group)
                if running is not None:
                    yield running.result()
                running = following
            if running is not None:
                yield running.result()
        finally:
            self.progress.is_over.set()
            pool.shutdown(cancel_futures=True)

    def _extract(self, group: Group) -> list[ExtractedVideo]:
        """Features of one subject's videos. Those that are predicted already come last: they are
        needed only where another one can be predicted beside them now."""
        missing = self._missing(group)
        present = [video for video in group if video not in missing]
        extracted: list[ExtractedVideo] = []
        for video in [*missing, *present]:
            if video in present and all(entry.part is None for entry in extracted):
                self.present.append(video.name)
                continue
            result = self.extractor.extract(video)
            if result.outcome.stop is not None:
                raise JobError(result.outcome.stop)
            extracted.append(result)
            self.progress.end_video(video.seconds)
        return extracted

    def _predict(self, extracted: Sequence[ExtractedVideo]) -> None:
        """Predict one subject's videos and write their files; a problem of one is told at once."""
        from va_search.serving.videos import SeenRecording

        whole: list[tuple[ExtractedVideo, SeenRecording]] = []
        for result in extracted:
            video, problems = result.video, list(result.outcome.problems)
            if result.part is None:
                self._leave_out(video.name, problems)
                continue
            seen = SeenRecording(video.name, video.subject, result.rate, result.part)
            problems += self.predictor.lacking(seen)
            if problems:
                self._leave_out(video.name, problems)
            else:
                whole.append((result, seen))
        if not whole:
            return
        try:
            predictions = self.predictor.predict([seen for _, seen in whole])
        except JobError as error:  # a model that gives NaN for these recordings
            for _, seen in whole:
                self._leave_out(seen.name, [f"recording {seen.name!r}: {error}"])
            return
        for (result, seen), values in zip(whole, predictions, strict=True):
            self._write(result, seen, values)

    def _write(self, result: ExtractedVideo, seen: SeenRecording, raw: Floats) -> None:
        """Write the file of one video, its (frames, targets) predictions clipped."""
        import numpy as np

        from va_search.serving.video_folder import VideoEntry
        from va_search.targets import clipped

        values = clipped(raw, self.folder.ensemble.targets)
        seconds = result.outcome.footage
        entry = VideoEntry(
            key=self._keys[seen.name],
            video=str(result.video.job.video),
            rows=len(raw),
            seconds=seconds,
            offset=result.offset,
            rate=result.rate,
        )
        # Features first: a recording whose file is there has them, too.
        if self.features is not None:
            self.features.add(result.video, result.rate, seen.part)
        self.folder.add(seen.name, entry, np.asarray(seen.part.times, dtype=np.float64), values)
        self.predicted.append(seen.name)
        self.rows += len(raw)
        self.clipped += int((raw != values).sum())
        self.footage += seconds

    def _leave_out(self, name: str, problems: list[str]) -> None:
        self.broken[name] = problems
        # What was predicted of the file before it changed is not its.
        self.folder.remove(name)
        self.note(f"left out: {problems[0].splitlines()[0]}")
