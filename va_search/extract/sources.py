"""What there is to extract: annotated recordings, their videos and their crops.

    ANNOTATIONS/Train_Set/<recording>.txt, Validation_Set/<recording>.txt    as `data import affwild2` takes them
    SAMPLE                       the organisers' sample submission: test recordings and their lengths
    VIDEOS/**/<video>.mp4|.avi|… found under the recording's name first, then without _left/_right
    CROPS/<recording>/00001.jpg

Conventions: everything that is missing is told at once, before anything is read; what is broken
inside a video is told with the recording it belongs to, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.affwild2_files import LABEL_RANGE, official_recordings
from va_search.data.affwild2_sources import nearest_recording, people_of, video_of
from va_search.data.problems import and_more, refuse
from va_search.errors import InputError
from va_search.extract.recipe import Recipe
from va_search.files import checked_name

__all__ = ["LABEL_RANGE", "Job", "Places", "find_jobs"]

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")


@dataclass(frozen=True)
class Places:
    """The folders and files the user named; `subjects` is a CSV recording,subject."""

    videos: Path
    annotations: Path
    crops: Path | None = None
    sample: Path | None = None
    subjects: Path | None = None


@dataclass(frozen=True)
class Job:
    """One recording: `labels` tells its annotation rows, or `rows` does (test: None labels to
    read). `finds_crops`: its folder of crops is made from the video first."""

    name: str
    subject: str
    split: str
    labels: Path
    rows: int | None
    video: Path
    crops: Path | None
    finds_crops: bool = False


def find_jobs(places: Places, recipe: Recipe, found_crops: Path, warnings: list[str]) -> list[Job]:
    """Training, validation, then test recordings; InputError with everything missing. `warnings` is
    added to.

    `found_crops` is where crops go that the recipe's `faces` finds.
    """
    entries = official_recordings(places.annotations, places.sample, warnings)
    names = [name for name, *_ in entries]
    people = {} if places.subjects is None else people_of(places.subjects, names)
    videos = _videos(places.videos)
    files = {path.stem: path for path in places.videos.rglob("*") if path.is_file()}
    finds = _finds_crops(places, recipe, [name for name, *_ in entries])
    jobs: list[Job] = []
    problems: list[str] = []
    for name, split, labels, rows in entries:
        checked_name(name, "recording")
        video = videos.get(name) or videos.get(video_of(name))
        crops = found_crops / name if finds else places.crops / name if places.crops else None
        if video is None:
            either = " or ".join(dict.fromkeys([name, video_of(name)]))
            instead = _instead_of(name, videos, files)
            problems.append(
                f"recording {name!r}: no video {either} with {', '.join(VIDEOS)} in {places.videos}{instead}"
            )
        elif crops is not None and not finds and not crops.is_dir():
            problems.append(f"recording {name!r}: no folder of crops {crops}")
        else:
            resolved = None if crops is None else crops.resolve()
            jobs.append(
                Job(
                    name,
                    people.get(name, name),
                    split,
                    labels,
                    rows,
                    video,
                    resolved,
                    resolved is not None and finds,
                )
            )
    refuse(problems)
    return jobs


def _videos(folder: Path) -> dict[str, Path]:
    """Video by stem, subfolders included; InputError for a wrong folder or a stem that stands
    twice."""
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {found}, expected a folder of videos")
    found_videos: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEOS and path.is_file() and not path.name.startswith("."):
            if path.stem in found_videos:
                problems.append(
                    f"{found_videos[path.stem]} and {path}: two videos of one name; keep one"
                )
            found_videos[path.stem] = path.resolve()
    refuse(problems)
    if not found_videos:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"{folder}: found {inside}, expected videos ({', '.join(VIDEOS)})")
    return found_videos


def _instead_of(name: str, videos: dict[str, Path], files: dict[str, Path]) -> str:
    """Words on what is there in place of a recording's video: its name with another ending, or a
    name like it.

    `files` are all files of the folder by stem, videos or not.
    """
    for stem in (name, video_of(name)):
        if stem in files:
            return f"; {files[stem].name} is there, which is none of these: convert it"
    near = nearest_recording(name, list(videos))
    return f"; {videos[near].name} is there: is it meant? Names must be the same" if near else ""


def _finds_crops(places: Places, recipe: Recipe, names: Sequence[str]) -> bool:
    """Whether faces are found in the videos; InputError when crops are needed and there is no way
    to them."""
    needing = [one.name for one in recipe.feature_sets if one.images == "crops"]
    if not needing:
        return False
    if places.crops is not None:
        if not places.crops.is_dir():
            raise InputError(
                f"{places.crops}: no such folder, expected one folder of crops per recording"
            )
        return False
    if recipe.faces is None:
        raise InputError(
            f"feature set {needing[0]!r}{and_more(len(needing) - 1)} looks at crops: give --crops, or say in the "
            "recipe's `faces` how they are found, or `images: frames` for the whole picture"
        )
    videos = [video_of(name) for name in names]
    shared = sorted(
        {name for name, video in zip(names, videos, strict=True) if videos.count(video) > 1}
    )
    if shared:
        raise InputError(
            f"recordings {', '.join(shared[:4])}{and_more(max(0, len(shared) - 4))} are persons of one video, whom a "
            "detector can't tell apart: give --crops"
        )
    return True
