"""Sources of streams for tests: random worlds with clocks of their own, and a slow, obvious
reference that says which value belongs on which frame."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

POOLS = ("nearest", "mean", "mean_spread", "linear")
CLOCKS = ("seconds", "milliseconds", "named unit", "datetime", "frames", "none")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file; None is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)


def write_source(
    folder: Path, document: dict[str, Any], recordings: Sequence[tuple[str, str, str]]
) -> Path:
    """Write streams.yaml and recordings.csv (recording, subject, split)."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(document, sort_keys=False)
    (folder / "streams.yaml").write_text(text, encoding="utf-8")
    write_csv(folder / "recordings.csv", ["recording", "subject", "split"], recordings)
    return folder


@dataclass
class Row:
    """A row of a stream: its part, its time in seconds, its values (None where missing)."""

    part: int
    time: float
    values: list[float] | None


@dataclass
class WorldStream:
    """A stream of one recording as it truly is, and as the description has it."""

    name: str
    rate: float
    columns: int
    clock: str = "seconds"
    pool: str = "mean"
    delay: float = 0.0
    window: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def entry(self, files: str) -> dict[str, Any]:
        """Its entry in streams.yaml."""
        entry: dict[str, Any] = {"files": files}
        if self.clock == "named unit":
            entry |= {"clock": "when", "unit": "s"}
        if self.clock == "frames":
            entry |= {"frames_per_second": self.rate, "counts_from": 0}
        if self.clock == "none":
            entry |= {"frames_per_second": self.rate, "starts_at": self.rows[0].time}
        return entry

    def write(self, path: Path, names: Sequence[str], *, segments: bool) -> None:
        """Write the file of a recording."""
        header, rows = [*names], []
        clock = {"seconds": "time_s", "milliseconds": "time_ms", "named unit": "when"}
        clock |= {"datetime": "timestamp", "frames": "frame"}
        if self.clock != "none":
            header.insert(0, clock[self.clock])
        if segments:
            header.append("segment_id")
        for row in self.rows:
            cells: list[Any] = [*(row.values or [float("nan")] * len(names))]
            if self.clock != "none":
                cells.insert(0, self.cell(row.time))
            if segments:
                cells.append(f"part{row.part}")
            rows.append(cells)
        write_csv(path, header, rows)

    def cell(self, time: float) -> Any:
        """A time as the stream's clock writes it."""
        if self.clock == "milliseconds":
            return round(1000 * time, 6)
        if self.clock == "frames":
            return round(time * self.rate)
        if self.clock == "datetime":
            minutes, seconds = divmod(time, 60)
            return f"2024-05-01 10:{int(minutes):02d}:{seconds:09.6f}"
        return round(time, 6)

    @property
    def step(self) -> float:
        return 1 / self.rate


def longest(step: float) -> float:
    """Seconds beyond which a step is a hole."""
    return 1.5 * step + min(0.001, step / 4)


def reference_frame(stream: WorldStream, part: int, time: float, end: float) -> list[float] | None:
    """The values of a stream on the frame of `part` from `time` to `end`, by one loop over all its
    samples; None where it is missing."""
    samples = []
    for row in stream.rows:
        if row.part == part and row.values is not None:
            samples.append((row.time + stream.window / 2 + stream.delay, row.values))
    closest, distance = None, np.inf
    for centre, values in samples:
        if abs(centre - time) < distance - 1e-6:
            closest, distance = values, abs(centre - time)
    if closest is None or distance > longest(stream.step) / 2 + 1e-6:
        closest = None
    inside = [values for centre, values in samples if time - 1e-6 <= centre < end - 1e-6]
    if stream.pool == "nearest":
        return closest
    if stream.pool == "linear":
        for (begin, a), (stop, b) in pairwise(samples):
            if begin <= time <= stop and stop - begin <= longest(stream.step):
                share = (time - begin) / (stop - begin)
                return [x * (1 - share) + y * share for x, y in zip(a, b, strict=True)]
        return closest
    if inside:
        mean = [float(np.mean(column)) for column in zip(*inside, strict=True)]
        spread = [float(np.std(column)) for column in zip(*inside, strict=True)]
    elif closest is not None:
        mean, spread = closest, [0.0] * len(closest)
    else:
        return None
    return mean + spread if stream.pool == "mean_spread" else mean


@dataclass
class World:
    """A random source: recordings with their streams, labels and what must come out."""

    folder: Path
    seed: int
    recordings: list[tuple[str, str, str]] = field(default_factory=list)
    streams: dict[str, list[WorldStream]] = field(default_factory=dict)
    labels: dict[str, WorldStream] = field(default_factory=dict)
    targets: dict[str, tuple[float, float]] = field(default_factory=dict)
    rate: float | None = None

    def frames(self, recording: str) -> list[tuple[int, float, float]]:
        """(part, begin, end) of each frame of a recording."""
        labels = self.labels[recording]
        times = [(row.part, row.time) for row in labels.rows]
        step = labels.step
        if self.rate is not None:
            step = 1 / self.rate
            times = []
            for part in sorted({row.part for row in labels.rows}):
                own = [row.time for row in labels.rows if row.part == part]
                number = int(np.floor(own[0] * self.rate)) - 1
                while number / self.rate <= own[-1] + 1e-6:
                    if number / self.rate >= own[0] - 1e-6:
                        times.append((part, number / self.rate))
                    number += 1
        frames = []
        for index, (part, time) in enumerate(times):
            end = time + step
            if index + 1 < len(times):
                next_part, next_time = times[index + 1]
                if next_part == part and next_time - time <= longest(step):
                    end = next_time
            frames.append((part, time, end))
        return frames

    def gaps(self, recording: str) -> list[int]:
        """Frames before which a segment must end."""
        frames = self.frames(recording)
        step = 1 / (self.rate or self.labels[recording].rate)
        gaps = []
        for index in range(1, len(frames)):
            part, time, _ = frames[index]
            part_before, time_before, _ = frames[index - 1]
            if part != part_before or time - time_before > longest(step):
                gaps.append(index)
        return gaps


def random_world(folder: Path, seed: int) -> World:
    """A source of two or three recordings with one to four targets and one to three streams, whose
    clocks have offsets, holes and missing rows, and in a third of the worlds start again."""
    random = np.random.default_rng(seed)
    world = World(folder, seed)
    parts = 1 + 2 * int(random.random() < 0.33)
    segments = parts > 1 and random.random() < 0.5
    for number in range(int(random.integers(1, 5))):
        low = float(random.uniform(-5, 5))
        world.targets[f"t{number}"] = (low, low + float(random.uniform(0.5, 1000)))
    label_rate = float(random.choice([1, 2, 5, 10, 25]))
    label_clock = str(random.choice(CLOCKS[:3]))
    absolute = parts == 1 and random.random() < 0.2
    if absolute:
        label_clock = "datetime"
    if random.random() < 0.3:
        world.rate = float(random.choice([2, 4, 10]))
    kinds = []
    for number in range(int(random.integers(1, 4))):
        clock = "datetime" if absolute else str(random.choice(CLOCKS[:3]))
        rate = float(random.choice([4, 10, 25, 100]))
        if not absolute and parts == 1 and random.random() < 0.3:
            clock = str(random.choice(["frames", "none"]))
        kinds.append(
            WorldStream(
                f"s{number}",
                rate,
                int(random.integers(1, 4)),
                clock,
                str(random.choice(POOLS)),
                float(random.choice([0.0, 0.3, -0.2, 0.137])),
                float(random.choice([0.0, 0.06])),
            )
        )
    starts = {kind.name: float(random.choice([0.0, 0.4, 1.2])) for kind in kinds}
    for number in range(int(random.integers(2, 4))):
        recording = f"r{number}"
        world.recordings.append((recording, f"p{number}", ["train", "validation", "train"][number]))
        seconds = float(random.integers(12, 25))
        labels = WorldStream("labels", label_rate, len(world.targets), label_clock)
        labels.rows = _rows(random, labels, parts, seconds, 0.2, [*world.targets.values()])
        world.labels[recording] = labels
        labels.write(folder / "labels" / f"{recording}.csv", [*world.targets], segments=segments)
        world.streams[recording] = []
        for kind in kinds:
            own = WorldStream(**{**vars(kind), "rows": []})
            own.rows = _rows(
                random, own, parts, seconds + float(random.uniform(-4, 4)), starts[own.name]
            )
            names = [f"c{column}" for column in range(own.columns)]
            own.write(folder / own.name / f"{recording}.csv", names, segments=segments)
            world.streams[recording].append(own)
    document: dict[str, Any] = {"name": f"world {seed}", "targets": {}, "features": {}}
    if world.rate is not None:
        document["frames_per_second"] = world.rate
    first = world.recordings[0][0]
    for name, ends in world.targets.items():
        entry = world.labels[first].entry("labels/{recording}.csv")
        document["targets"][name] = {**entry, "range": list(ends)}
        if world.rate is not None:
            document["targets"][name]["pool"] = "nearest"
    for own in world.streams[first]:
        entry = own.entry(own.name + "/{recording}.csv")
        document["features"][own.name] = {
            **entry, "modality": "any", "pool": own.pool, "delay": own.delay, "window": own.window,
        }  # fmt: skip
    write_source(folder, document, world.recordings)
    return world


def _rows(
    random: np.random.Generator,
    stream: WorldStream,
    parts: int,
    seconds: float,
    start: float,
    ranges: Sequence[tuple[float, float]] = (),
) -> list[Row]:
    """The rows of a stream; labels lie within `ranges`. Without a clock there are no holes, but for
    rows with empty cells."""
    rows = []
    for part in range(parts):
        count = int(seconds * stream.rate / parts)
        hole = range(0)
        if stream.clock != "none" and count >= 12 and random.random() < 0.5:
            begin = int(random.integers(count // 3, count // 2))
            hole = range(begin, begin + int(random.integers(2, max(3, count // 4))))
        for index in range(count):
            if index in hole:
                continue
            if ranges:
                values = [float(random.uniform(low, high)) for low, high in ranges]
            else:
                values = random.normal(3, 1, stream.columns).tolist()
            values = [round(value, 5) for value in values]
            for column, (low, high) in enumerate(ranges):
                values[column] = min(max(values[column], low), high)
            is_missing = not ranges and 0 < index < count - 1 and random.random() < 0.1
            time = start + index / stream.rate
            if stream.clock == "frames":
                time = round(start * stream.rate) / stream.rate + index / stream.rate
            rows.append(Row(part, round(time, 6), None if is_missing else values))
    return rows
