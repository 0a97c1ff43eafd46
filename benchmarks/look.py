"""How long the folder of `va-search look` takes to write and to open: 500 recordings of 10,000 frames,
20 members, two targets.

    python benchmarks/look.py [--recordings 500] [--frames 10000] [--members 20] [--out DIR]
                              [--folder DIR]      a few minutes; about 2.5 GB on the disk, removed at the end

The bank is made up: slow waves and noise. The folder is written by a process of its own, whose memory is
looked at while it runs: `own` is what it holds itself, `with files` counts pages of the bank's files, too,
which the system takes back when it needs them. Then headless chromium opens the page from the disk, and the
page measures itself in real time: from the beginning of its loading to the list and to the first recording,
a recording with all its members, and frames per second while the list is scrolled and while the curves are
panned, with all members and without. Goals: under 2 s, 30 frames per second."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import AFFECT, affect
from va_search.trial import SCORE, Best, Trial

RATE = 25.0
STUDY, ENSEMBLE = "made_up", "made_up_best"
WRITE = """
import sys, time
import va_search as va
home, out, members = sys.argv[1:]
started = time.perf_counter()
look = va.look_at("made_up_best", out, home=home, members=int(members))
print(time.perf_counter() - started, look.bytes)
"""
PATIENCE = 240.0
"""Seconds in which the browser must have measured everything."""
PROBE = Path(__file__).with_name("look_probe.js")
"""The script that measures the page, in the page."""


def make_store(folder: Path, recordings: int, frames: int) -> Store:
    """A store of validation recordings, one person each, whose labels are slow waves."""
    source = folder / "source.csv"
    source.touch()
    sources = []
    for number in range(recordings):
        name = f"P{number:03d}_v{number % 5}"
        sources.append(Source(name, f"P{number:03d}", name, "validation", None, RATE, (source,)))
    description = Description("large", affect(-1, 1), {"face": ("visual", ())})
    draft = Draft(folder / "store", description, sources)
    seconds = np.arange(frames) / RATE
    for number in range(recordings):
        random = np.random.default_rng(number)
        phases = random.uniform(0, 6, 2)
        waves = 0.7 * np.sin(seconds[:, None] / np.array([11.0, 17.0]) + phases)
        draft.add(number, Part({"face": np.zeros((frames, 1))}, waves))
    return draft.finish()


def make_bank(home: Home, store: Store, members: int) -> None:
    """Trials whose predictions are the labels and noise that changes slowly and fast."""
    bank = Bank(home.bank)
    recordings = store.split("validation")
    for member in range(members):
        random = np.random.default_rng(1000 + member)
        values = np.array(store.annotations)
        values += random.normal(0, 0.05, values.shape).astype(np.float32)
        for recording in recordings:
            values[recording.span] += random.normal(0, 0.2, 2).astype(np.float32)
        best = {}
        for column, target in enumerate(AFFECT):
            best[target] = Best(ccc(values[:, column], store.annotations[:, column]), 1)
        best[SCORE] = Best(sum(entry.ccc for entry in best.values()) / len(best), 1)
        trial = Trial(
            study=STUDY,
            id=f"outside-m{member:02d}",
            source="outside",
            best=best,
            content=f"{member:064d}",
            store=store.name,
            store_path=store.place,
            targets=AFFECT,
        )
        bank.write(trial, {"validation": Predictions(values, frames_hash(recordings))})


def write_folder(home: Home, out: Path, members: int) -> dict[str, float]:
    """Write the page's folder in a process of its own; seconds, bytes, and its memory at most."""
    command = [sys.executable, "-c", WRITE, str(home.root), str(out), str(members)]
    started = time.perf_counter()
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    peaks = {"RssAnon": 0.0, "VmRSS": 0.0}
    while writer.poll() is None:
        for line in _status_lines(writer.pid):
            name, _, amount = line.partition(":")
            if name in peaks:
                peaks[name] = max(peaks[name], int(amount.split()[0]) * 1024.0)
        time.sleep(0.02)
    assert writer.stdout is not None
    if writer.returncode != 0:
        raise SystemExit("the folder was not written")
    seconds, size = writer.stdout.read().split()
    return {
        "seconds": float(seconds),
        "whole": time.perf_counter() - started,
        "bytes": float(size),
        "own": peaks["RssAnon"],
        "with files": peaks["VmRSS"],
    }


def _status_lines(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return []


@contextmanager
def receiver() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A server on this machine alone that takes what the page measured: its port, and the documents
    that came."""
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(content))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, received
    finally:
        server.shutdown()
        server.server_close()


def measure_page(folder: Path, scratch: Path) -> dict[str, Any]:
    """Open the page in headless chromium and return what it measured."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed (apt-get install chromium)")
    with receiver() as (port, received):
        page = folder / "measured.html"
        text = (folder / "index.html").read_text(encoding="utf-8")
        receives = f'const RECEIVER = "http://127.0.0.1:{port}/";'
        probe = f"<script>{receives}\n{PROBE.read_text(encoding='utf-8')}</script>"
        page.write_text(text + probe, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        flags += ["--window-size=1280,900", f"--user-data-dir={scratch / 'profile'}"]
        # A port for debugging keeps headless chromium open; nobody connects to it.
        flags += ["--remote-debugging-port=0"]
        browser = subprocess.Popen(  # noqa: S603
            [chromium, *flags, page.as_uri()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            ends = time.monotonic() + PATIENCE
            while not received and time.monotonic() < ends and browser.poll() is None:
                time.sleep(0.1)
        finally:
            browser.terminate()
            browser.wait(20)
            page.unlink()
    if not received or "error" in received[0]:
        raise SystemExit(f"the page measured nothing: {received}")
    return received[0]


def show(written: dict[str, float] | None, measured: dict[str, Any]) -> None:
    if written is not None:
        print(
            f"written in {written['seconds']:.1f} s ({written['whole']:.1f} s with Python's start): "
            f"{written['bytes'] / 1e6:,.0f} MB; memory at most {written['own'] / 1e6:,.0f} MB own, "
            f"{written['with files'] / 1e6:,.0f} MB with files"
        )
    print(
        f"list shown after {measured['list'] / 1e3:.2f} s, first recording after "
        f"{measured['first'] / 1e3:.2f} s; another with {measured['curves']} curves after "
        f"{measured['next'] / 1e3:.2f} s"
    )
    for name, words in {
        "scroll": "scrolling the list",
        "pan_main": "panning the annotation and the ensemble",
        "pan_all": "panning all members",
        "idle": "doing nothing (the browser's own rate)",
    }.items():
        frames = measured[name]
        print(
            f"{frames['mean']:5.1f} frames per second {words}; 95 % within {frames['slowest']:.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--out", type=Path, help="Keep the folder here.")
    parser.add_argument("--folder", type=Path, help="Measure a folder that is there already.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="look-") as name:
        scratch = Path(name)
        if options.folder is not None:
            show(None, measure_page(options.folder, scratch))
            return
        print(
            f"{options.recordings} recordings × {options.frames:,} frames × {options.members} members "
            "× 2 targets"
        )
        store = make_store(scratch, options.recordings, options.frames)
        home = Home(scratch / "home")
        make_bank(home, store, options.members)
        build(home, [STUDY], load_recipe("mean"), ENSEMBLE, store)
        out = options.out or scratch / "out"
        written = write_folder(home, out, options.members)
        show(written, measure_page(out, scratch))


if __name__ == "__main__":
    main()
