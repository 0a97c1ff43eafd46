"""Sources of an extraction: annotated recordings, their videos and their crops.

    ANNOTATIONS/Train_Set/<recording>.txt, Validation_Set/<recording>.txt    as `data import affwild2` takes them
    SAMPLE                       the organisers' sample submission: test recordings and their lengths
    VIDEOS/**/<video>.mp4|.avi|… looked for under the recording's name, then without _left/_right
    CROPS/<recording>/00001.jpg

Conventions: everything that is missing is told at once, before anything is read; a video that is
broken inside is told with the recording it belongs to, at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.affwild2_files import official_recordings
from va_search.data.affwild2_sources import nearest_recording, people_of, video_of
from va_search.data.problems import and_more, refuse
from va_search.errors import InputError
from va_search.extract.recipe import ExtractionRecipe
from va_search.files import checked_name

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")


@dataclass(frozen=True)
class Sources:
    """The folders and files the user named; `subjects` is a CSV recording,subject."""

    videos: Path
    annotations: Path
    crops: Path | None = None
    sample: Path | None = None
    subjects: Path | None = None


@dataclass(frozen=True)
class Job:
    """One recording to extract. `rows` is the number of its frames where it is a test recording,
    else None: `labels` has them. `finds_crops`: its folder of crops is made from the video."""

    name: str
    subject: str
    split: str
    labels: Path
    rows: int | None
    video: Path
    crops: Path | None
    finds_crops: bool


def find_jobs(
    sources: Sources, recipe: ExtractionRecipe, found_crops: Path, warnings: list[str]
) -> list[Job]:
    """Training, validation, then test recordings; InputError with everything missing.

    `found_crops` is the folder for crops that the recipe's `faces` finds. `warnings` is added to.
    """
    entries = official_recordings(sources.annotations, sources.sample, warnings)
    names = [name for name, *_ in entries]
    people = {} if sources.subjects is None else people_of(sources.subjects, names)
    videos = _videos(sources.videos)
    files = {path.stem: path for path in sources.videos.rglob("*") if path.is_file()}
    finds_crops = _finds_crops(sources, recipe, names)
    jobs: list[Job] = []
    problems: list[str] = []
    for name, split, labels, rows in entries:
        checked_name(name, "recording")
        # Two people of one video are the recordings v_left and v_right of v.
        video = videos.get(name) or videos.get(video_of(name))
        crops = None
        if finds_crops:
            crops = found_crops / name
        elif sources.crops is not None:
            crops = sources.crops / name
        if video is None:
            either = " or ".join(dict.fromkeys([name, video_of(name)]))
            problems.append(
                f"recording {name!r}: no video {either} with {', '.join(VIDEOS)} in "
                f"{sources.videos}{_similar_file(name, videos, files)}"
            )
        elif crops is not None and not finds_crops and not crops.is_dir():
            problems.append(f"recording {name!r}: no folder of crops {crops}")
        else:
            if crops is not None:
                crops = crops.resolve()
            subject = people.get(name, name)
            jobs.append(Job(name, subject, split, labels, rows, video, crops, finds_crops))
    refuse(problems)
    return jobs


def _videos(folder: Path) -> dict[str, Path]:
    """Video by stem, subfolders included; InputError for a wrong folder or two videos of one
    stem."""
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {state}, expected a folder of videos")
    videos: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEOS and path.is_file() and not path.name.startswith("."):
            if path.stem in videos:
                problems.append(f"{videos[path.stem]} and {path}: two videos of one name; keep one")
            videos[path.stem] = path.resolve()
    refuse(problems)
    if not videos:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"{folder}: found {names}, expected videos ({', '.join(VIDEOS)})")
    return videos


def _similar_file(name: str, videos: dict[str, Path], files: dict[str, Path]) -> str:
    """Words on a file that may be a recording's video: its name with another ending, or a name like
    it. `files` are all files of the folder by stem, videos or not."""
    for stem in (name, video_of(name)):
        if stem in files:
            return f"; {files[stem].name} is there, which is none of these: convert it"
    near = nearest_recording(name, list(videos))
    if near is None:
        return ""
    return f"; {videos[near].name} is there: is it meant? Names must be the same"


def _finds_crops(sources: Sources, recipe: ExtractionRecipe, names: Sequence[str]) -> bool:
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
    count = Counter(video_of(name) for name in names)
    shared = sorted({name for name in names if count[video_of(name)] > 1})
    if shared:
        raise InputError(
            f"recordings {', '.join(shared[:4])}{and_more(max(0, len(shared) - 4))} are persons of "
            "one video, whom a detector can't tell apart: give --crops"
        )
    return True
