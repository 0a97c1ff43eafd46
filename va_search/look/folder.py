"""The folder of a page, written whole.

    OUT/index.html      the page
    OUT/data/index.js   what its list needs
    OUT/data/0001.js …  one recording each, loaded when it is looked at
    OUT/.look.json      our mark: the names and bytes of all files

Conventions: the folder is written beside its place and moved there, so that it is there whole or not
at all. Only a folder of ours is replaced, in which nobody put or changed anything. Recordings are
numbered: names that differ only in case, or that a file system refuses, are no names of files. One
recording at a time is in memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from va_search import __version__
from va_search.errors import InputError
from va_search.files import read_json, remove_folder, write_json
from va_search.look.arrays import encoded, encoded_texts, script
from va_search.look.media import Media
from va_search.look.page import page_html
from va_search.look.scores import scores_of, sparkline, worst_moment
from va_search.look.shown import Curves, Series, Shown, ShownRecording
from va_search.submission.folder import take_place

FORMAT = 1
"""Of the data files, as the page reads them."""
MARK = ".look.json"
PAGE = "index.html"
INDEX = "data/index.js"
HINT = "choose another --out"
Watch = Callable[[int, int], None]
"""Is told how many recordings are written, of how many."""


@dataclass(frozen=True)
class LookFolder:
    """A folder that was written: `page` is what a browser opens; `bytes` of all its files.

    `with_media`: recordings that have a video or sound. `remarks`: what a user should know."""

    folder: Path
    page: Path
    recordings: int
    series: int
    with_media: int
    bytes: int
    replaced: bool
    remarks: tuple[str, ...]


def write_look(
    shown: Shown,
    out: Path,
    *,
    media: Media | None = None,
    watch: Watch = lambda done, total: None,
) -> LookFolder:
    """Write the page's folder to `out`, with links to the `media` that belong to the recordings.

    InputError for an `out` that holds anything but an earlier folder of ours."""
    out = out.resolve()
    replaced = may_write(out)
    media = media or Media.none()
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        (beside / "data").mkdir(parents=True)
        entries = []
        made = datetime.now(UTC).isoformat(timespec="microseconds")
        for index, recording in enumerate(shown.recordings):
            watch(index, len(shown.recordings))
            entry = _write_recording(beside, index + 1, recording, shown, made)
            link = media.link(recording.media_names, out)
            entries.append({**entry, "media": link})
        watch(len(shown.recordings), len(shown.recordings))
        remarks = (*shown.remarks, *media.remarks(shown.recordings))
        _write_text(beside / INDEX, script("vaLook.index", _index(shown, entries, remarks, made)))
        _write_text(beside / PAGE, page_html(shown.title))
        files = _files_in(beside)
        write_json(beside / MARK, {"format": FORMAT, "version": __version__, "files": files})
        # Writing takes a while: somebody may have put something there meanwhile.
        may_write(out)
        take_place(beside, out)
    finally:
        remove_folder(beside)
    return LookFolder(
        folder=out,
        page=out / PAGE,
        recordings=len(entries),
        series=len(shown.series),
        with_media=sum(entry["media"] is not None for entry in entries),
        bytes=sum(files.values()),
        replaced=replaced,
        remarks=remarks,
    )


def may_write(out: Path) -> bool:
    """True where an earlier folder of ours is at `out`; InputError when anything else is, or when
    somebody changed something in it."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder to write to")
    if not any(out.iterdir()):
        return False
    if not (out / MARK).is_file():
        raise InputError(f"{out}: not empty, and not written by va-search look; {HINT}")
    mark = read_json(out / MARK)
    if not isinstance(mark, dict) or not isinstance(mark.get("files"), dict):
        raise InputError(f"{out / MARK}: not what va-search writes; {HINT}")
    files = _files_in(out)
    written = mark["files"]
    differing = [name for name in {**files, **written} if files.get(name) != written.get(name)]
    if differing:
        names = ", ".join(sorted(differing)[:3])
        raise InputError(
            f"{out}: written by va-search look, but {names} was added, changed or removed since; "
            f"{HINT}"
        )
    return True


def _files_in(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder but the mark, by its path in it; a link counts as a file
    of its own length, so that nothing behind one is taken for ours."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and name != MARK:
            files[name] = path.lstat().st_size
    return files


def _write_text(path: Path, text: str) -> int:
    """Write a file and return its bytes."""
    content = text.encode()
    path.write_bytes(content)
    return len(content)


def _write_recording(
    folder: Path, number: int, recording: ShownRecording, shown: Shown, made: str
) -> dict[str, Any]:
    """Write the file of one recording and return its entry in the list, without its medium.

    `made`: when the folder was made. A page that was opened before does not take the file for its
    own."""
    curves = shown.curves(number - 1)
    name = f"{number:04d}"
    file = f"data/{name}.js"
    clock = recording.clock
    scores, sparks, worst = {}, {}, {}
    # Everything in the list is of the first series.
    for target, prediction in curves.series.get(0, {}).items():
        annotation = curves.annotation.get(target)
        sparks[target] = {"annotation": None, "prediction": sparkline(prediction)}
        if annotation is None or np.isnan(annotation).all():
            continue
        sparks[target]["annotation"] = sparkline(annotation)
        target_scores = scores_of(prediction, annotation)
        if target_scores is not None:
            scores[target] = target_scores
            worst[target] = worst_moment(prediction, annotation, clock.seconds)
    document = {
        "made": made,
        "frames": clock.frames,
        "rate": clock.rate,
        "start": clock.start,
        "times": None,
        "worst": worst,
        **_arrays(curves),
    }
    if clock.times is not None:
        document["times"] = encoded(clock.times)
    if curves.keys is not None:
        document["keys"] = encoded_texts(curves.keys)
    size = _write_text(folder / file, script("vaLook.recording", name, document))
    return {
        "id": name,
        "name": recording.name,
        "file": file,
        "split": recording.split,
        "subject": recording.subject,
        "stimulus": recording.stimulus,
        "frames": clock.frames,
        "seconds": round(clock.length, 3),
        "media_offset": clock.media_offset,
        "scores": scores,
        "sparkline": sparks,
        "bytes": size,
    }


def _arrays(curves: Curves) -> dict[str, Any]:
    """Every array of a recording as the page reads it; annotations without any label are left out."""
    annotation = {}
    for target, labels in curves.annotation.items():
        if not np.isnan(labels).all():
            annotation[target] = encoded(labels)
    raters = {}
    for target, band in curves.raters.items():
        ends = {"low": encoded(band.low), "high": encoded(band.high)}
        raters[target] = {**ends, "text": band.text}
    series = {}
    for index, by_target in curves.series.items():
        series[f"s{index}"] = {target: encoded(values) for target, values in by_target.items()}
    return {
        "annotation": annotation,
        "raters": raters,
        "series": series,
        "missing": dict(curves.missing),
    }


def _index(
    shown: Shown, entries: list[dict[str, Any]], remarks: Sequence[str], made: str
) -> dict[str, Any]:
    """The document of the list."""
    targets = []
    for target in shown.targets:
        title = target.name[:1].upper() + target.name[1:].replace("_", " ")
        targets.append(
            {"name": target.name, "title": title, "low": target.low, "high": target.high}
        )
    return {
        "format": FORMAT,
        "version": __version__,
        "title": shown.title,
        "kind": shown.kind,
        "made": made,
        "verdict": [list(row) for row in shown.verdict],
        "scores_are": shown.scores_are,
        "notes": list(remarks),
        "targets": targets,
        "series": [_series(index, series) for index, series in enumerate(shown.series)],
        "feature_sets": list(shown.feature_sets),
        "time_column": shown.time_column,
        "recordings": entries,
    }


def _series(index: int, series: Series) -> dict[str, Any]:
    return {
        "id": f"s{index}",
        "title": series.title,
        "kind": series.kind,
        "targets": list(series.targets),
        "weights": series.weights,
        "detail": series.detail,
    }
