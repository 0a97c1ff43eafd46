"""Folders of `va-search look` for tests of the page: a few recordings, each with its own oddity."""

from __future__ import annotations

import base64
import json
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.look.page import page_html

Array = NDArray[np.float32] | NDArray[np.float64]
RATE = 25.0
MEDIA_OFFSET = 0.5
"""Seconds of the video's clock at the store's time 0."""
TARGETS = ("valence", "arousal")
ODD_NAME = 'a, "b" </script><b id=bold>& ü'


def packed(array: Array) -> dict[str, Any]:
    """An ARRAY of the format."""
    kind = {"float32": "f4", "float64": "f8"}[array.dtype.name]
    shuffled = array.view(np.uint8).reshape(-1, array.dtype.itemsize).T.tobytes()
    text = base64.b64encode(zlib.compress(shuffled)).decode()
    return {"type": kind, "length": len(array), "shuffled": True, "deflate": text}


@dataclass
class Shown:
    """One recording: arrays (frames,) by target, and by series and target."""

    name: str
    frames: int
    annotation: dict[str, Array] = field(default_factory=dict)
    series: dict[str, dict[str, Array]] = field(default_factory=dict)
    raters: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    times: NDArray[np.float64] | None = None
    missing: dict[str, list[list[int]]] = field(default_factory=dict)
    keys: list[str] | None = None
    entry: dict[str, Any] = field(default_factory=dict)

    def scores(self) -> dict[str, dict[str, float | None]]:
        """Scores of s0 by target; ccc is not the real one, but differs; no spread of one frame."""
        scores: dict[str, dict[str, float | None]] = {}
        for target, annotation in self.annotation.items():
            error = self.series["s0"][target] - annotation
            scores[target] = {
                "ccc": float(1 - np.nanstd(error)),
                "rmse": float(np.sqrt(np.nanmean(error**2))),
                "bias": float(np.nanmean(error)),
                "spread": None,
            }
            if self.frames > 1:
                spread = np.nanstd(self.series["s0"][target]) / np.nanstd(annotation)
                scores[target]["spread"] = float(spread)
        return scores

    def worst(self) -> dict[str, int]:
        """First frame of the worst ten seconds by target."""
        firsts = {}
        for target, annotation in self.annotation.items():
            squares = np.nan_to_num((self.series["s0"][target] - annotation) ** 2)
            window = min(self.frames, int(10 * RATE))
            sums = np.convolve(squares, np.ones(window), mode="valid")
            firsts[target] = int(sums.argmax())
        return firsts

    def content(self) -> dict[str, Any]:
        """The recording's file."""
        raters = {}
        for target, (low, high) in self.raters.items():
            raters[target] = {"low": packed(low), "high": packed(high), "text": "mean ± sd of 5"}
        content: dict[str, Any] = {
            "frames": self.frames,
            "rate": RATE,
            "start": 0.0,
            "times": None if self.times is None else packed(self.times),
            "annotation": _packed_by_target(self.annotation),
            "raters": raters,
            "series": {name: _packed_by_target(curves) for name, curves in self.series.items()},
            "missing": self.missing,
            "worst": self.worst(),
        }
        if self.keys is not None:
            text = base64.b64encode(zlib.compress("\n".join(self.keys).encode())).decode()
            content["keys"] = {"deflate": text, "length": self.frames}
        return content


def _packed_by_target(arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {target: packed(array) for target, array in arrays.items()}


def make_recording(
    name: str, frames: int, seed: int, *, targets: tuple[str, ...] = TARGETS, members: int = 3
) -> Shown:
    """A recording with annotations, a main series in float64 and members in float32; values of many
    digits."""
    draw = np.random.default_rng(seed)
    shown = Shown(name, frames)
    shown.series = {f"s{number}": {} for number in range(members + 1)}
    for target in targets:
        wave = np.sin(np.arange(frames) / (20 + 5 * seed)) * 0.6
        annotation = (wave + draw.normal(0, 0.01, frames)).astype(np.float32)
        shown.annotation[target] = annotation
        shown.series["s0"][target] = wave + draw.normal(0, 0.02 * (1 + seed), frames)
        for number in range(1, members + 1):
            curve = wave + draw.normal(0, 0.05 * number, frames)
            shown.series[f"s{number}"][target] = curve.astype(np.float32)
    return shown


def odd_recordings() -> list[Shown]:
    """Five recordings: everything at once with a video; irregular times; an odd name without
    labels; one frame; one whose file is to be removed."""
    full = make_recording("P01_v1", 750, 0)
    full.annotation["valence"][100:130] = np.nan
    full.series["s1"]["valence"][:5] = [1e-45, -0.0, 0.1, 3.4e38, -1.5e-7]
    full.series["s0"]["valence"][:6] = [0.0078125, -0.0234375, 0.1, 1.25, -1e-9, 0.3]
    full.series["s0"]["arousal"][500:600] += 0.9
    band = full.annotation["valence"]
    full.raters["valence"] = (band - np.float32(0.1), band + np.float32(0.1))
    full.missing = {"face": [[0, 50], [300, 301]], "voice": []}
    full.keys = [f"{frame / RATE:.2f}" for frame in range(full.frames)]
    full.entry = {"subject": "P01", "stimulus": "v1", "split": "validation"}
    full.entry |= {"media": "P01%20v1.webm", "media_offset": MEDIA_OFFSET}
    irregular = make_recording("P02_v10", 400, 1)
    steps = np.random.default_rng(5).uniform(0.01, 0.09, 400)
    irregular.times = np.cumsum(steps) + 3.0
    irregular.entry = {"subject": "P02", "stimulus": "v10", "split": "validation"}
    unlabelled = make_recording(ODD_NAME, 300, 2)
    unlabelled.annotation = {}
    unlabelled.entry = {"subject": "P10", "stimulus": "v1", "split": "test"}
    single = make_recording("one frame", 1, 3)
    single.entry = {"subject": "P02", "stimulus": "v1", "split": "validation"}
    gone = make_recording("gone", 60, 4)
    gone.entry = {"subject": "P03", "stimulus": "v1", "split": "test"}
    return [full, irregular, unlabelled, single, gone]


def write_folder(out: Path, recordings: list[Shown], targets: tuple[str, ...] = TARGETS) -> Path:
    """Write a folder; returns its index.html."""
    (out / "data").mkdir(parents=True)
    entries = []
    for number, shown in enumerate(recordings, start=1):
        ident = f"{number:04}"
        path = f"data/{ident}.js"
        content = json.dumps(shown.content()).replace("</", "<\\/")
        (out / path).write_text(f'vaLook.recording("{ident}", {content});\n', encoding="utf-8")
        entry = {"id": ident, "name": shown.name, "file": path, "split": "validation"}
        entry |= {"subject": None, "stimulus": None, "media": None, "media_offset": 0.0}
        entry |= {"frames": shown.frames, "seconds": shown.frames / RATE}
        entry |= {"scores": shown.scores(), "sparkline": _sparklines(shown), "bytes": len(content)}
        entries.append(entry | shown.entry)
    members = max(len(shown.series) for shown in recordings)
    series = [{"id": "s0", "title": "ensemble best", "kind": "ensemble", "weights": None}]
    for number in range(1, members):
        weights = {target: 0.25 * number for target in targets}
        series.append({"id": f"s{number}", "title": f"trial {number}", "kind": "trial"})
        series[-1] |= {"weights": weights, "detail": f"gru · seed {number}"}
    index = {
        "format": 1,
        "version": "1.0",
        "title": "best",
        "kind": "ensemble",
        "made": "2026-11-30T22:00:00+00:00",
        "verdict": [["submit", "the ensemble"], ["next", "va-search submit best"]],
        "scores_are": "Scores were measured in-sample.",
        "time_column": "time",
        "targets": [
            {"name": name, "title": name.capitalize(), "low": -1.0, "high": 1.0} for name in targets
        ],
        "series": [{"targets": list(targets), "detail": ""} | line for line in series],
        "feature_sets": ["face", "voice"],
        "recordings": entries,
    }
    text = json.dumps(index).replace("</", "<\\/")
    (out / "data" / "index.js").write_text(f"vaLook.index({text});\n", encoding="utf-8")
    page = out / "index.html"
    page.write_text(page_html("best"), encoding="utf-8")
    return page


def _sparklines(shown: Shown) -> dict[str, Any]:
    sparklines = {}
    for target in shown.series["s0"]:
        lines = {
            "annotation": shown.annotation.get(target),
            "prediction": shown.series["s0"][target],
        }
        rows = np.linspace(0, shown.frames - 1, min(48, shown.frames)).astype(int)
        sparklines[target] = {
            name: None if values is None else _numbers(values[rows])
            for name, values in lines.items()
        }
    return sparklines


def _numbers(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 3) for value in values]


def make_video(path: Path, seconds: float) -> None:
    """A small silent video whose picture changes 10 times a second, in a format chromium plays."""
    source = f"testsrc=size=96x64:rate=10:duration={seconds}"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source]
    command += ["-c:v", "libvpx", "-b:v", "60k", "-deadline", "realtime", "-cpu-used", "8", "-y"]
    subprocess.run([*command, str(path)], check=True, timeout=120)
