"""Every value on the frame that its row names, or refused: random files against a slow, obvious
reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from va_search.data.column_names import role_of, unit_of
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.feature_rows import read_rows
from va_search.data.frame_names import RecordingFrames, recording_name
from va_search.data.frame_rows import place_rows
from va_search.data.readers import read_numbers
from va_search.data.row_checks import runs_evenly
from va_search.data.store import Recording, Store
from va_search.ensemble.outside_files import read_recording
from va_search.errors import InputError
from va_search.submission.scoring import _values_of, read_labels
from va_search.targets import AFFECT, affect

FRAMES = 24
STORES = {  # time column, its first value, its step, frames per second
    "none": (None, 0.0, 0.0, 30.0),
    "ms": ("zeit", 0.0, 50.0, 20.0),
    "seconds": ("time", 10.0, 0.04, 25.0),
    "frames": ("index", 0.0, 1.0, 30.0),
}


def make_store(folder: Path, kind: str) -> Store:
    """Recordings v1 (validation, all labelled), x1 and x2 (test, without labels)."""
    column, begin, step, rate = STORES[kind]
    sources = [
        Source(name, name, name, split, None, rate, ())
        for name, split in (("v1", "validation"), ("x1", "test"), ("x2", "test"))
    ]
    draft = Draft(
        folder,
        Description("s", affect(-1.0, 1.0), {"face": ("visual", ("a",))}, "float32", column),
        sources,
    )
    for index in draft.missing():
        times = begin + np.arange(FRAMES) * step if column else None
        labels = np.linspace([-0.9, 0.9], [0.9, -0.9], FRAMES) if index == 0 else None
        draft.add(index, Part({"face": np.ones((FRAMES, 1))}, labels, times))
    return draft.finish()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("stores")
    return {kind: make_store(folder / kind, kind) for kind in STORES}


def value_of(frame: int) -> tuple[float, float]:
    """What the row of a frame (from 0) predicts: no two frames alike."""
    return round(0.03 * frame - 0.4, 4), round(0.37 - 0.029 * frame, 4)


# how a column may name frame `f` (from 0) of recording x1, at `rate` frames per second from `begin`
# seconds on
FRAME_NAMES: dict[str, Callable[[int], str]] = {
    "frame": lambda f: str(f + 1),
    "Frame": lambda f: f"{f + 1}.0",
    "frame_id": lambda f: str(f + 1),
    "frameIndex": lambda f: str(f + 1),
    " frame no.": lambda f: str(f + 1),
    "image_location": lambda f: f"x1/{f + 1:05d}.jpg",
    "image": lambda f: f"{f + 1}.jpg",
    "img_path": lambda f: f"/data/cropped_aligned/x1/{f + 1:05d}.png",
    "filename": lambda f: f"x1_{f + 1:04d}.jpg",
    "frame_name": lambda f: f"frame_{f + 1:06d}.jpg",
}
CLOCK_NAMES: dict[str, Callable[[float], str]] = {
    "time": repr,
    "timestamp": lambda s: f"{s:.3f}",
    "Time (s)": lambda s: f"{s:.2f}",
    "frameTime": lambda s: f"{s:.6f}",
    "ms": lambda s: f"{s * 1e3:.0f}",
    "time_ms": lambda s: f"{s * 1e3:.1f}",
    "seconds": lambda s: f"{s:.4f}",
    "timestamp[us]": lambda s: f"{s * 1e6:.0f}",
    "start": lambda s: f"{s:.5f}",
    "video time": lambda s: f"{s * 1e3:.2f}",  # no unit in the name: ms all the same
}
OWN_NAMES = {"recording": "x1", "video": "x1.mp4", "file": "/media/x1.wav", "name": "x1"}
COUNTERS = ("Unnamed: 0", "", "index", "id", "row", "n", "Nummer")
FAULTS = (
    "none", "none", "none", "none", "other recording", "frame twice", "frame beyond", "columns disagree",
    "counts from 0", "two people", "clock of another rate",
)  # fmt: skip


@dataclass
class Member:
    """One file of the kind: the frames of its rows in order, and its columns' cells."""

    frames: list[int]
    columns: dict[str, list[str]] = field(default_factory=dict)
    fault: str = "none"
    named: bool = False
    rate: float = 30.0
    separator: str = ","

    def write(self, file: Path) -> Path:
        pair = [value_of(frame) for frame in self.frames]
        columns = {
            **self.columns,
            "arousal": [str(a) for _, a in pair],
            "valence": [str(v) for v, _ in pair],
        }
        lines = [
            self.separator.join(columns),
            *(self.separator.join(cells) for cells in zip(*columns.values(), strict=True)),
        ]
        file.write_text("\n".join(lines) + "\n")
        return file


@st.composite
def members(draw: st.DrawFn, begin: float, rate: float, taken: str | None) -> Member:
    """A random member: which frames, in which order, named by which columns, with which fault."""
    frames = sorted(
        draw(st.sets(st.integers(0, FRAMES - 1), min_size=5))
        if draw(st.booleans())
        else range(FRAMES)
    )
    order = draw(st.sampled_from(["sorted", "reversed", "text", "shuffled"]))
    if order == "reversed":
        frames = frames[::-1]
    elif order == "text":
        frames = sorted(frames, key=lambda frame: str(frame + 1))
    elif order == "shuffled":
        frames = draw(st.permutations(frames))
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t"]))
    member = Member(list(frames), rate=rate, separator=separator)
    numbers = draw(st.sets(st.sampled_from(list(FRAME_NAMES)), max_size=2))
    clocks = draw(
        st.sets(st.sampled_from([name for name in CLOCK_NAMES if name != taken]), max_size=1)
    )
    fault = draw(st.sampled_from(FAULTS))
    if fault == "frame twice":
        member.frames.append(member.frames[0])
    used_rate = rate * 1.5 if fault == "clock of another rate" else rate
    for name in sorted(numbers):
        member.columns[name] = [FRAME_NAMES[name](frame) for frame in member.frames]
    for name in sorted(clocks):
        member.columns[name] = [
            CLOCK_NAMES[name](begin + frame / used_rate) for frame in member.frames
        ]
    member.named = bool(member.columns)
    if draw(st.booleans()):
        name = draw(st.sampled_from(list(OWN_NAMES)))
        member.columns[name] = [OWN_NAMES[name]] * len(member.frames)
    if draw(st.booleans()) or not member.named:
        counter = draw(st.sampled_from([name for name in COUNTERS if name != taken]))
        member.columns[counter] = [str(frame) for frame in member.frames]
    damage(draw, member, fault, numbers, clocks)
    return member


def damage(
    draw: st.DrawFn, member: Member, fault: str, numbers: set[str], clocks: set[str]
) -> None:
    """Put the fault into the file where it can be put; else there is none."""
    row = draw(st.integers(0, len(member.frames) - 1))
    counted = [name for name in member.columns if name in FRAME_NAMES]
    if fault in ("frame twice",) and not member.named:
        member.frames.pop()
        member.columns = {name: cells[:-1] for name, cells in member.columns.items()}
        return
    if fault == "other recording":
        member.columns["clip"] = (
            ["x1"] * row + ["x1_left"] + ["x1"] * (len(member.frames) - row - 1)
        )
    elif fault == "frame beyond" and counted:
        member.columns[counted[0]][row] = FRAME_NAMES[counted[0]](FRAMES + 5)
    elif fault == "columns disagree" and len(counted) > 1:
        member.columns[counted[1]][row] = FRAME_NAMES[counted[1]](member.frames[row] + 1)
    elif fault == "counts from 0" and counted and 0 in member.frames:
        for name in counted:
            member.columns[name] = [FRAME_NAMES[name](frame - 1) for frame in member.frames]
    elif fault == "two people":
        member.columns["face_id"] = ["0"] * row + ["1"] + ["0"] * (len(member.frames) - row - 1)
        if len(member.frames) == 1:
            return
    elif fault not in ("frame twice", "clock of another rate") or (
        fault == "clock of another rate" and not clocks
    ):
        return
    member.fault = fault


def must_be_right(member: Member) -> bool:
    """Whether nothing is wrong with the file, so that refusing it would be needless."""
    if member.fault == "clock of another rate" or member.separator != ",":
        return False
    return member.fault == "none" and member.named


def check(member: Member, read: Callable[[], np.ndarray]) -> None:
    """`read` gives (frames, 2), NaN where the file has no row: every value is on its frame, or the
    file is refused."""
    try:
        values = read()
    except InputError as error:
        assert not must_be_right(member), f"needlessly refused: {error}"
        return
    assert member.fault in ("none", "clock of another rate"), f"{member.fault} was taken"
    expected = np.full((FRAMES, 2), np.nan)
    for frame in member.frames:
        expected[frame] = value_of(frame)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def times_in_seconds(kind: str) -> tuple[float, float, str | None]:
    column, begin, _, rate = STORES[kind]
    second = {"ms": 1e-3, "frames": 1 / rate}.get(kind, 1.0)
    return begin * second, rate, column


QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("kind", list(STORES))
def test_predictions_are_on_their_frames_or_refused(
    stores: dict[str, Store], tmp_path: Path, kind: str
) -> None:
    store = stores[kind]
    recording = store.recordings[1]

    @QUICK
    @given(members(*times_in_seconds(kind)))
    def holds(member: Member) -> None:
        def read() -> np.ndarray:
            file = member.write(tmp_path / "x1.csv")
            part = read_recording(file, recording, store, AFFECT, first=1)
            assert part.filled == FRAMES - len(set(member.frames))
            blank = np.setdiff1d(np.arange(FRAMES), member.frames)
            part.values[blank] = np.nan
            return part.values

        check(member, read)

    holds()


@pytest.mark.parametrize("kind", list(STORES))
def test_labels_to_score_by_are_on_their_frames_or_refused(
    stores: dict[str, Store], tmp_path: Path, kind: str
) -> None:
    store = stores[kind]

    def values_of(file: Path) -> Any:
        return _values_of(file, read_numbers(file, AFFECT), store.recordings[1], store, 1)[0]

    @QUICK
    @given(members(*times_in_seconds(kind)))
    def holds(member: Member) -> None:
        check(member, lambda: values_of(member.write(tmp_path / "x1.csv")))

    holds()


def test_features_are_on_their_frames_or_refused(tmp_path: Path) -> None:
    timeline = RecordingFrames(("x1",), FRAMES, 30.0, "labels.txt")

    @QUICK
    @given(members(*times_in_seconds("none")))
    def holds(member: Member) -> None:
        def read() -> np.ndarray:
            rows = read_rows(member.write(tmp_path / "x1.csv"), timeline, None, faces=True)
            values = rows.features.copy()  # arousal, valence: features stand in the file's order
            assert values.shape[1] == 2 + sum(name in ("n", "Nummer") for name in member.columns)
            if member.named:
                assert np.flatnonzero(rows.valid).tolist() == sorted(set(member.frames))
            values[~rows.valid] = np.nan
            return values[:, [-1, -2]]

        numbered = [name for name in member.columns if name in ("n", "Nummer")]
        if not member.named and member.frames != sorted(member.frames):
            return  # nothing in the file names rows but a column that may be a feature
        if not member.named and len(member.frames) == FRAMES - 1:
            return  # one row less than frames is taken for a lost last frame, with a warning
        assert len(numbered) <= 1
        check(member, read)

    holds()


def test_a_column_of_another_name_that_runs_against_the_rows_is_refused_by_name(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    """Nothing is known of `Nummer`; in the rows' order it is harmless, in another it names
    something."""
    store = stores["none"]
    recording = store.recordings[1]
    for name in COUNTERS:
        backward = Member(list(range(FRAMES))[::-1], {name: [str(f) for f in range(FRAMES)][::-1]})
        with pytest.raises(
            InputError,
            match=f"column '{name}' is not used, but by its numbers the rows are in another order",
        ):
            file = backward.write(tmp_path / "x1.csv")
            read_recording(file, recording, store, AFFECT, first=1)
        forward = Member(list(range(FRAMES)), {name: [str(f) for f in range(FRAMES)]})
        file = forward.write(tmp_path / "x1.csv")
        part = read_recording(file, recording, store, AFFECT, first=1)
        np.testing.assert_allclose(part.values, [value_of(f) for f in range(FRAMES)])
        assert part.unused == (name,)


def test_what_runs_evenly() -> None:
    shuffled = np.random.default_rng(0).permutation
    rounded = np.round(np.arange(40) / 30, 3)
    for numbers in (
        np.arange(9.0),
        shuffled(np.arange(5.0, 60.0)),
        rounded[::-1],
        shuffled(rounded[[*range(9), 20, 21]]),
    ):
        assert runs_evenly(numbers)
    values = np.random.default_rng(1).normal(size=40).round(4)
    for numbers in (
        values,
        np.ones(9),
        np.array([0.0, 1.0]),
        np.arange(9.0) % 4,
        np.array([0.0, 1.0, np.nan, 3.0]),
    ):
        assert not runs_evenly(numbers)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("frame", "frames"), ("frameIndex", "frames"), ("FRAME_NO", "frames"), ("image_location", "texts"),
        ("filename", "texts"), ("video_id", "texts"), ("Time (s)", "clocks"), ("frametime", "clocks"), ("ms", "clocks"),
        ("t", "clocks"), ("timestamp_ms", "clocks"), ("start", "clocks"), ("face_id", "people"), ("subject", "people"),
        ("success", "success"), ("confidence", "others"), ("segment_id", "parts"), ("fold", "parts"),
        ("Unnamed: 0", "rows"), ("", "rows"), ("index", "rows"), ("id", "rows"), ("row number", "rows"),
        ("AU01_r", "values"), ("image_17", "values"), ("MeanVoicedSegmentLengthSec", "values"), ("face", "values"),
        ("frame_energy", "values"), ("pose_Tx", "values"), ("x", "values"), ("valence", "values"), ("s", "values"),
        ("F0semitoneFrom27.5Hz_sma3nz", "values"), ("blink_time", "values"), ("min", "values"), ("gaze_x", "values"),
    ],
)  # fmt: skip
def test_roles_of_columns_by_their_names(name: str, role: str) -> None:
    assert role_of(name) == role


def test_units_and_recordings_in_names() -> None:
    assert [unit_of(name) for name in ("Time (s)", "time_ms", "t[µs]", "nanoseconds", "time", "secs")] == [
        "seconds", "milliseconds", "microseconds", "nanoseconds", None, "seconds",
    ]  # fmt: skip
    names = ["v1", "v1.mp4", "/data/v1.WAV", "C:\\videos\\v1.avi", "10-60-1280x720", "v1.left"]
    assert [recording_name(name) for name in names] == [
        "v1",
        "v1",
        "v1",
        "v1",
        "10-60-1280x720",
        "v1.left",
    ]


def by_count() -> np.ndarray:
    raise AssertionError("the file names its rows")


def place(tmp_path: Path, text: str, timeline: RecordingFrames) -> list[int]:
    (tmp_path / "v1.csv").write_text(text)
    return place_rows(tmp_path / "v1.csv", timeline, ("a",), by_count).frames.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "video,frame,a\nv1_right,1,0\n",
            "v1.csv:2: column 'video' names 'v1_right' ('v1_right'), but the file is of ",
        ),
        (
            "image_location,a\nv1/00001.jpg,0\nv2/00002.jpg,0\n",
            "v1.csv:3: column 'image_location' names 'v2'",
        ),
        (
            "frame,image,a\n1,00001.jpg,0\n2,00003.jpg,0\n",
            "v1.csv:3: column 'frame' says frame 2 and column 'image' f",
        ),
        (
            "frame,time,a\n1,0.0,0\n2,0.0333,0\n9,0.2333,0\n10,0.3,0\n",
            "v1.csv:4: column 'frame' says frame 9 and colum",
        ),
        (
            "frame,time,a\n1,0.5,0\n2,0.11,0\n",
            "v1.csv:3: time 0.11 of frame 2 after 0.5 of frame 1; times must incre",
        ),
        (
            "frame,a\n1,0\n11,0\n",
            "v1.csv:3: frame 11, but the recording has 10 frames, numbered from 1 to 10",
        ),
        (
            "frame,a\n2,0\n2,0\n",
            "v1.csv:3: frame 2 has two rows, by column 'frame'; expected one row a frame",
        ),
        (
            "frame,a\n0,0\n1,0\n",
            "v1.csv:2: frame 0, expected a whole number from 1; frame 1 is the first (image 0",
        ),
        ("frame,a\n1.5,0\n", "v1.csv:2: frame 1.5, expected a whole number from 1"),
        ("frame,a\n1,0\n,0\n", "v1.csv:3: frame nan, expected a whole number from 1"),
        ("frame,a\n1e300,0\n", "v1.csv:2: frame 1e+300, expected a whole number from 1"),
        (
            "frame,face_id,a\n1,0,0\n1,1,0\n",
            "column 'face_id' tells 2 people apart ('0', '1'), several of them in one f",
        ),
        (
            "time,a\n0,0\n0.3333,0\n",
            "v1.csv:3: time 0.3333 is no frame's time; the recording has 10 frames from 0 to ",
        ),
        ("Zeit (time),time 2,a\n1,1,1\n", "the file names its rows"),
        (
            "image,a\nface.jpg,0\n",
            "v1.csv:2: image 'face.jpg', expected an image such as 00001.jpg",
        ),
        ("video,a\n102,0\n", "v1.csv:2: column 'video' names '102'"),
    ],
)
def test_what_is_refused_and_how(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((InputError, AssertionError)) as refused:
        place(tmp_path, text, RecordingFrames(("v1",), 10, 30.0))
    assert message in str(refused.value)


def test_the_stores_own_time_column_must_fit_even_beside_frame_numbers(tmp_path: Path) -> None:
    recording = RecordingFrames(("v1",), 10, 20.0, "store", np.arange(10) * 50.0, "zeit")
    assert place(tmp_path, "frame,zeit,a\n3,100,0\n1,0,0\n", recording) == [2, 0]
    with pytest.raises(
        InputError,
        match=r"v1\.csv:2: zeit 110 is no frame's time; the recording has 10 frames from 0 to",
    ):
        place(tmp_path, "frame,zeit,a\n3,110,0\n1,0,0\n", recording)
    with pytest.raises(
        InputError, match=r"v1\.csv:2: column 'frame' says frame 2 and column 'zeit' frame 3"
    ):
        place(tmp_path, "frame,zeit,a\n2,100,0\n1,0,0\n", recording)


def test_a_clock_at_another_rate_is_named(tmp_path: Path) -> None:
    times = "".join(f"{frame / 24:.4f},0\n" for frame in range(8))
    with pytest.raises(
        InputError, match="at 30 frames per second, and 'timestamp' steps as 24 rows per second do"
    ):
        place(tmp_path, f"timestamp,a\n{times}", RecordingFrames(("v1",), 10, 30.0))


def test_numbers_of_rows_at_another_rate_than_the_frames_are_refused_by_their_clock(
    tmp_path: Path,
) -> None:
    """openSMILE's frameIndex counts its own frames; OpenFace's frame those of a video whose rate
    was not given."""
    lines = "".join(f"{row + 1},{row / 12.5:.2f},0\n" for row in range(40))
    with pytest.raises(
        InputError,
        match=r"'frameTime' steps as 12.5 frames per second do, but 30 are taken, and its fr",
    ):
        place(tmp_path, f"frameIndex,frameTime,a\n{lines}", RecordingFrames(("v1",), 96, 30.0))
    lines = "".join(f"{row + 1},{row / 25:.3f},0\n" for row in range(96))
    assert place(
        tmp_path, f"frame,timestamp,a\n{lines}", RecordingFrames(("v1",), 96, 30.0)
    ) == list(range(96))


def test_times_of_a_rounded_rate_and_with_few_digits_are_their_frames(tmp_path: Path) -> None:
    frames = list(range(0, 2000, 7))
    for rate, exact in ((29.97, 30000 / 1001), (23.98, 24000 / 1001), (30.0, 30.0)):
        few = "".join(f"{frame / exact:.2f},0\n" for frame in frames[:100])
        assert (
            place(tmp_path, f"time,a\n{few}", RecordingFrames(("v1",), 2000, rate)) == frames[:100]
        )
        many = "".join(f"{frame / exact:.6f},0\n" for frame in frames[:120])
        assert (
            place(tmp_path, f"time,a\n{many}", RecordingFrames(("v1",), 2000, rate)) == frames[:120]
        )


def test_labels_count_from_0_only_where_every_file_does(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    def write(name: str, first: int, frames: range) -> None:
        rows = "".join(
            f"{frame + first},{value_of(frame)[0]},{value_of(frame)[1]}\n" for frame in frames
        )
        (tmp_path / f"{name}.csv").write_text(f"frame,valence,arousal\n{rows}")

    write("x1", 0, range(FRAMES))
    write("x2", 0, range(FRAMES - 3))
    labels = read_labels(tmp_path, stores["none"])
    np.testing.assert_allclose(
        labels[FRAMES : 2 * FRAMES - 3], [value_of(frame) for frame in range(FRAMES - 3)]
    )
    assert np.isnan(labels[2 * FRAMES - 3 :]).all()
    write(
        "x2", 0, range(1, FRAMES)
    )  # 1 to 23 of 24: from 0 with the first left out, or from 1 without the last
    with pytest.raises(
        InputError, match=r"x1\.csv:2: frame 0, expected a whole number from 1; .* add 1 to each"
    ):
        read_labels(tmp_path, stores["none"])


def test_recordings_of_a_store_know_their_times(stores: dict[str, Store]) -> None:
    recording: Recording = stores["seconds"].recordings[1]
    timeline = RecordingFrames.of(recording, stores["seconds"])
    assert timeline.own_clock == "time" and timeline.frame_times.unit == "seconds"
    assert RecordingFrames.of(recording, stores["frames"]).frame_times.unit == "frames"
    assert RecordingFrames.of(recording, stores["none"]).own_clock is None
