"""Sources of an extraction: recordings with their media and their crops.

    CROPS/<recording>/00001.jpg      face crops, by the number of their picture in the video

Conventions: media are found by name (media.py), annotations read as annotations.py says. Everything
that is missing is told at once, before anything is read; a file that is broken inside is told with
the recording it belongs to, at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.draft import Source
from va_search.data.problems import and_more, refuse
from va_search.errors import InputError
from va_search.extract.annotations import AnnotatedRecording, Annotations
from va_search.extract.media import MediaFiles
from va_search.extract.recipe import ExtractionRecipe
from va_search.extract.timeline import SOUNDS
from va_search.files import file_name_of


@dataclass(frozen=True)
class Sources:
    """The folders and files the user named; `subjects` is a CSV recording,subject. `sound` is a
    folder of sound for all videos, `frames_per_second` the rate of frames or labels."""

    videos: Path
    annotations: Path | None = None
    crops: Path | None = None
    sample: Path | None = None
    subjects: Path | None = None
    sound: Path | None = None
    frames_per_second: float | None = None


@dataclass(frozen=True)
class Job:
    """One recording to extract. `labels` is None where it has none, `more_labels` are those of its
    other targets and raters; `rows` is the number of its
    frames where the sample tells it, else None. `video` may be a file of sound alone; `sound` is
    the file that its sound is taken from, where it is another, `beside` one that may be.
    `finds_crops`: its folder of crops is made from the video. `source_video`, `fold` and `stimulus` are
    for the store."""

    name: str
    subject: str
    split: str
    labels: Path | None
    rows: int | None
    video: Path
    crops: Path | None
    finds_crops: bool
    source_video: str
    fold: int | None = None
    sound: Path | None = None
    beside: Path | None = None
    more_labels: tuple[Path, ...] = ()
    stimulus: str | None = None

    @property
    def sound_file(self) -> Path:
        """The file that is heard."""
        return self.sound or self.video

    def source(self, frames_per_second: float) -> Source:
        """The recording as the draft of a store knows it, with every file that counts."""
        files = [] if self.labels is None else [self.labels]
        files += [*self.more_labels, self.video]
        if self.crops is not None and not self.finds_crops:
            files.append(self.crops)
        if self.sound is not None:
            files.append(self.sound)
        return Source(
            self.name,
            self.subject,
            self.source_video,
            self.split,
            self.fold,
            frames_per_second,
            tuple(files),
            stimulus=self.stimulus,
        )


def find_jobs(
    sources: Sources,
    recipe: ExtractionRecipe,
    annotations: Annotations,
    media: MediaFiles,
    found_crops: Path,
) -> list[Job]:
    """Jobs in the order of the recordings; InputError with everything missing.

    `found_crops` is the folder for crops that the recipe's `faces` finds."""
    recordings = annotations.recordings
    finds_crops = _finds_crops(sources, recipe, recordings)
    hears = any(feature_set.kind == "audio" for feature_set in recipe.feature_sets)
    jobs: list[Job] = []
    problems: list[str] = []
    for recording in recordings:
        name = recording.name
        video = media.picture_file(recording.stems)
        if video is None:
            problems.append(f"recording {name!r}: {media.no_file(recording.stems)}")
            continue
        crops = None
        if finds_crops:
            crops = (found_crops / file_name_of(name)).resolve()
        elif sources.crops is not None and video.suffix.lower() not in SOUNDS:
            crops = (sources.crops / name).resolve()
            if not crops.is_dir():
                problems.append(f"recording {name!r}: no folder of crops {sources.crops / name}")
                continue
        sound, beside = None, None
        if media.separate is not None:
            stems = [stem for stem in recording.stems if stem in media.separate]
            if stems:
                sound = media.separate[stems[0]]
            elif hears and not _may_lack(recipe, "audio"):
                problems.append(f"recording {name!r}: {media.no_sound(recording.stems)}")
                continue
        else:
            beside = media.sound_beside(recording.stems, video)
        jobs.append(
            Job(
                name,
                recording.subject,
                recording.split,
                recording.labels,
                recording.rows,
                video,
                crops,
                finds_crops,
                recording.video,
                recording.fold,
                None if sound == video else sound,
                beside,
                recording.more_labels,
                recording.stimulus,
            )
        )
    refuse([*problems, *_without_pictures(recipe, jobs)])
    return jobs


def _may_lack(recipe: ExtractionRecipe, kind: str) -> bool:
    """True where all feature sets of a kind are optional."""
    feature_sets = [entry for entry in recipe.feature_sets if entry.kind == kind]
    return all(entry.optional for entry in feature_sets)


def _without_pictures(recipe: ExtractionRecipe, jobs: Sequence[Job]) -> list[str]:
    """A problem for each feature set that needs pictures where recordings are files of sound."""
    files = [job.video for job in jobs if job.video.suffix.lower() in SOUNDS]
    problems = []
    for feature_set in recipe.feature_sets:
        if feature_set.kind != "image" or not files:
            continue
        if not feature_set.optional:
            problems.append(
                f"feature set {feature_set.name!r} needs pictures, and {files[0]}"
                f"{and_more(len(files) - 1)} is sound alone; leave the set out of the recipe, or say "
                "there `optional: true`: then it is missing in such recordings"
            )
        elif len(files) == len(jobs):
            problems.append(
                f"feature set {feature_set.name!r} needs pictures, and no recording has any; leave "
                "it out of the recipe"
            )
    return problems


def _finds_crops(
    sources: Sources, recipe: ExtractionRecipe, recordings: Sequence[AnnotatedRecording]
) -> bool:
    """True where faces are found in the videos; InputError when crops are needed and there is no
    way to them."""
    needing = [
        feature_set.name for feature_set in recipe.feature_sets if feature_set.images == "crops"
    ]
    if not needing:
        return False
    if sources.crops is not None:
        if not sources.crops.is_dir():
            raise InputError(
                f"{sources.crops}: no such folder, expected one folder of crops per recording"
            )
        return False
    if recipe.faces is None:
        raise InputError(
            f"feature set {needing[0]!r}{and_more(len(needing) - 1)} looks at crops: give --crops, "
            "or say in the recipe's `faces` how they are found, or `images: frames` for the whole "
            "picture"
        )
    # A detector finds faces, but not whose they are.
    count = Counter(recording.video for recording in recordings)
    shared = sorted({entry.name for entry in recordings if count[entry.video] > 1})
    if shared:
        raise InputError(
            f"recordings {', '.join(shared[:4])}{and_more(max(0, len(shared) - 4))} are persons of "
            "one video, whom a detector can't tell apart: give --crops"
        )
    return True
