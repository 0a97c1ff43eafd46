"""Folders of `va-search look` for tests, without a store or a training:

PYTHONPATH=.:tests python tests/look_world.py OUT [--recordings 12] [--frames 2000] [--members 6]
"""

from __future__ import annotations

import argparse
import zlib
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from va_search.look.arrays import decoded, read_script
from va_search.look.folder import LookFolder, write_look
from va_search.look.media import Media
from va_search.look.shown import Clock, Curves, RatersBand, Series, Shown, ShownRecording
from va_search.targets import Target, affect

ODD_NAMES = (
    "Case",
    "case",
    "100% #1? & <b>",
    "a/b: «ä» 日本",
    "</script><script>alert(1)</script>",
)
"""Names that are no friends of files, addresses or pages; two that differ in case only."""
RATE = 25.0


def make_shown(
    recordings: int = 12,
    frames: int = 2000,
    members: int = 6,
    targets: Sequence[Target] = affect(-1.0, 1.0),
) -> Shown:
    """Recordings of about so many frames: some irregular in time, one of a single frame, one without
    a label, some with raters, missing features and a target that one member does not predict."""
    names = tuple(target.name for target in targets)
    series = [Series("ensemble first-best", "ensemble", names, detail="bagged_greedy")]
    for member in range(members):
        predicted = names[:1] if member == members - 1 and members > 1 else names
        kind = "outside" if member == 1 else "trial"
        weights = {name: round(1.0 / members, 4) for name in predicted}
        detail = f"transformer · early · face, voice · seed {member} · official"
        series.append(Series(f"first/a{member:03d}", kind, predicted, weights, detail))
    listed = [_recording(number, frames) for number in range(recordings)]
    return Shown(
        title="first-best",
        kind="ensemble",
        scores_are="Validation recordings, in-sample: weights were chosen on them.",
        targets=tuple(targets),
        series=tuple(series),
        recordings=tuple(listed),
        curves=lambda index: make_curves(index, listed[index].clock, series, targets),
        feature_sets=("face", "voice"),
        verdict=(
            ("submit", "first-best: it is better than the best single trial."),
            ("expected", "valence .59 (.39 to .75), arousal .48 (.30 to .62) on unseen people."),
            ("next", "va-search submit first-best --out first-submission"),
        ),
        remarks=("made up",),
    )


def _recording(number: int, frames: int) -> ShownRecording:
    """Recording 3 has irregular times, recording 5 one frame; the first few have odd names."""
    name = ODD_NAMES[number] if number < len(ODD_NAMES) else f"P{number:02d}_v{number % 4}"
    length = 1 if number == 5 else frames - 7 * number % max(frames // 2, 1)
    clock = Clock(length, RATE, start=0.4 if number == 2 else 0.0)
    if number == 3:
        random = np.random.default_rng(3)
        times = np.cumsum(random.uniform(0.02, 0.06, length))
        clock = Clock(length, RATE, times=times, start=float(times[0]))
    return ShownRecording(
        name=name,
        split=("validation", "validation", "test", "fold 2")[number % 4],
        clock=clock,
        subject=None if number == 1 else f"P{number:02d}",
        stimulus=None if number == 1 else f"v{number % 4}",
        media_names=(name,),
    )


def make_curves(
    number: int, clock: Clock, series: Sequence[Series], targets: Sequence[Target]
) -> Curves:
    """Slow waves of each target, and predictions that follow them with noise; test has no labels."""
    random = np.random.default_rng(number)
    annotation, raters = {}, {}
    curves: dict[int, dict[str, np.ndarray]] = {index: {} for index in range(len(series))}
    for target in targets:
        width = target.high - target.low
        phase = random.uniform(0, 6)
        wave = 0.5 + 0.35 * np.sin(clock.seconds / 7.0 + phase) * np.cos(clock.seconds / 31.0)
        truth = (target.low + width * wave).astype(np.float32)
        labels = truth.copy()
        labels[: clock.frames // 20] = np.nan
        if number % 4 == 2:
            labels[:] = np.nan
        annotation[target.name] = labels
        if number % 2 == 0 and number % 4 != 2:
            spread = np.float32(0.05 * width) * (1 + np.sin(clock.seconds)).astype(np.float32)
            text = "annotation ± standard deviation of 5 raters"
            raters[target.name] = RatersBand(labels - spread, labels + spread, text)
        sums = np.zeros(clock.frames)
        for index, entry in list(enumerate(series))[1:]:
            if target.name in entry.targets:
                noise = random.normal(0, 0.05 * width, clock.frames) + random.normal(
                    0, 0.05 * width
                )
                curves[index][target.name] = (truth + noise).astype(np.float32)
                sums += curves[index][target.name]
        count = max(sum(target.name in entry.targets for entry in series[1:]), 1)
        curves[0][target.name] = np.clip(sums / count, target.low, target.high)
    missing = {}
    if number % 3 == 0 and clock.frames > 100:
        missing["face"] = [(10, 40), (clock.frames - 30, clock.frames)]
    return Curves(annotation, raters, curves, missing)


def make_look(out: Path, media: Path | None = None, **more: int) -> LookFolder:
    """Write the folder of `make_shown`."""
    found = None if media is None else Media.of_folder(media)
    return write_look(make_shown(**more), out, media=found)


def read_index(folder: Path) -> dict[str, Any]:
    """The document of a folder's list."""
    (document,) = read_script((folder / "data/index.js").read_text("ascii"), "vaLook.index")
    return document


def read_recording(folder: Path, name: str) -> dict[str, Any]:
    """The document of a recording by its name, its arrays decoded."""
    (entry,) = [each for each in read_index(folder)["recordings"] if each["name"] == name]
    text = (folder / entry["file"]).read_text("ascii")
    number, document = read_script(text, "vaLook.recording")
    assert number == entry["id"]
    return decoded_all(document)


def decoded_all(document: Any) -> Any:
    """A document with its arrays as arrays."""
    if isinstance(document, dict) and "type" in document:
        return decoded(document)
    if isinstance(document, dict) and "deflate" in document:
        return zlib.decompress(b64decode(document["deflate"])).decode().split("\n")
    if isinstance(document, dict):
        return {name: decoded_all(value) for name, value in document.items()}
    return document


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--media", type=Path)
    parser.add_argument("--recordings", type=int, default=12)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--members", type=int, default=6)
    options = parser.parse_args()
    written = make_look(
        options.out,
        options.media,
        recordings=options.recordings,
        frames=options.frames,
        members=options.members,
    )
    print(written)  # noqa: T201
