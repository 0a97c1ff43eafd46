"""The organisers' own files, filled: every other byte stays, predictions come by frame or time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from submission_world import TargetWorld, make_target_world
from target_world import ONE, THREE
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, JobError
from va_search.submission import submit
from va_search.submission import template as organisers
from va_search.submission.writing import Submission
from va_search.targets import Target


@pytest.fixture
def world(tmp_path: Path) -> TargetWorld:
    return make_target_world(tmp_path, THREE)


@pytest.fixture
def built(world: TargetWorld) -> Ensemble:
    return world.build()


def fill(world: TargetWorld, built: Ensemble, template: Path, out: Path) -> Submission:
    return submit(built, world.store, world.bank, format="recordings", out=out, template=template)


def truth(world: TargetWorld) -> dict[str, np.ndarray]:
    """(60, targets) the ensemble's predictions of r7 and r8, by hand: the mean, clipped."""
    raw = (world.predict(0, 0.1)["test"].astype(float) + world.predict(1, 0.15)["test"]) / 2
    for column, target in enumerate(world.store.targets):
        raw[:, column] = np.minimum(np.maximum(raw[:, column], target.low), target.high)
    return {"r7": raw[:60], "r8": raw[60:]}


def write(folder: Path, name: str, lines: list[str], end: str = "\n") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes((end.join(lines) + end).encode())


@pytest.mark.parametrize("targets", [ONE, THREE])
@pytest.mark.parametrize(
    ("rate", "offset"), [(1.0, 0.0), (10.0, 0.0), (4.0, 0.02), (50.0, 0.0), (50.0, -0.04)]
)
def test_rows_of_any_rate(
    tmp_path: Path, targets: tuple[Target, ...], rate: float, offset: float
) -> None:
    """Frames are at 10 Hz: the nearest where rows are slower, on the line where they are faster."""
    world = make_target_world(tmp_path, targets)
    times = np.arange(0, 5.9, 1 / rate) + offset
    names = ",".join(target.name for target in reversed(targets))
    for name in ("r7", "r8"):
        lines = [f"time_s,{names},note"]
        lines += [f"{time:.3f}" + "," * len(targets) + ",x y" for time in times]
        write(tmp_path / "empty", f"{name}.csv", lines)
    written = fill(world, world.build(), tmp_path / "empty", tmp_path / "out")
    assert (written.format, written.rows, written.unasked) == ("template", 2 * len(times), 0)
    for name, values in truth(world).items():
        lines = (tmp_path / "out" / f"{name}.csv").read_text().splitlines()
        assert lines[0] == f"time_s,{names},note"
        for line, time in zip(lines[1:], times, strict=True):
            first, *cells, note = line.split(",")
            assert (first, note) == (f"{time:.3f}", "x y")
            exact = round(time, 3) * 10  # in frames
            row = values[min(range(60), key=lambda frame, at=exact: abs(frame - at))]
            if rate > 10:
                below = int(min(max(np.floor(exact + 1e-9), 0), 58))
                share = min(max(exact - below, 0.0), 1.0)
                row = values[below] + share * (values[below + 1] - values[below])
            np.testing.assert_allclose([float(cell) for cell in cells[::-1]], row, atol=2e-6)


def test_every_other_byte_stays(world: TargetWorld, built: Ensemble, tmp_path: Path) -> None:
    """A byte order mark, quotation marks, spaces, line ends, empty lines at the end, no last one."""
    header = '\ufeff"frame";arousal; stress ;valence;"a ""note"""'
    rows = [f'{frame};;-5;"";"x;{frame} "' for frame in (60, 1, 7)]
    write(tmp_path / "empty", "r7.csv", [header, *rows, "", ""], "\r\n")
    content = "\n".join(["frame,valence,arousal,stress", *(f"{n + 1:03d},,," for n in range(60))])
    (tmp_path / "empty" / "r8.txt").write_text(content)
    fill(world, built, tmp_path / "empty", tmp_path / "out")
    values = truth(world)
    expected = [header]
    for row, frame in zip(rows, (60, 1, 7), strict=True):
        valence, arousal, stress = (f"{value:.6f}" for value in values["r7"][frame - 1])
        expected.append(f'{row.split(";")[0]};{arousal};{stress};{valence};"x;{frame} "')
    text = (tmp_path / "out" / "r7.csv").read_bytes().decode()
    assert text == "\r\n".join([*expected, "", "", ""])
    lines = (tmp_path / "out" / "r8.txt").read_text().split("\n")
    assert len(lines) == 61 and lines[9] == "009," + ",".join(
        f"{value:.6f}" for value in values["r8"][8]
    )


def test_one_file_of_all_recordings(world: TargetWorld, built: Ensemble, tmp_path: Path) -> None:
    rows = [(name, frame) for frame in (3, 59, 1) for name in ("r8", "r7")]
    lines = ["video\ttime (ms)\tvalence\tarousal\tstress"]
    lines += [f"{name}.mp4\t{100 * frame}\t0\t0\t0" for name, frame in rows]
    write(tmp_path / "empty", "all.tsv", lines)
    fill(world, built, tmp_path / "empty", tmp_path / "out")
    filled = (tmp_path / "out" / "all.tsv").read_text().splitlines()
    values = truth(world)
    for line, (name, frame) in zip(filled[1:], rows, strict=True):
        numbers = "\t".join(f"{value:.6f}" for value in values[name][frame])
        assert line == f"{name}.mp4\t{100 * frame}\t{numbers}"


def test_all_that_is_wrong_with_a_template_at_once(
    world: TargetWorld, built: Ensemble, tmp_path: Path
) -> None:
    lines = ["time_s,valence,arousel,stress", "0.0,,,"]
    write(tmp_path / "empty", "r7.csv", lines)
    write(tmp_path / "empty", "r9.csv", ["time_s,valence,arousal,stress", "0.0,,,"])
    write(tmp_path / "empty", "README.md", ["read me"])
    with pytest.raises(InputError) as error:
        fill(world, built, tmp_path / "empty", tmp_path / "out")
    text = str(error.value)
    assert "r9.csv: unknown test recording 'r9' (known: r7, r8)" in text
    assert "README.md: not one of .csv, .tsv, .txt" in text
    assert f"{tmp_path / 'empty'}: no file or row of test recording 'r8'" in text
    assert "r7.csv: unknown column 'arousal'; did you mean 'arousel'?" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["0.0", "6.2"], r"r7\.csv:3: time_s 6\.2 is no frame's time: .* 3 frame intervals away"),
        (["0.0", "soon"], r"r7\.csv:3: column 'time_s': 'soon' is not a number"),
    ],
)
def test_rows_outside_of_a_recording_are_refused(
    world: TargetWorld, built: Ensemble, tmp_path: Path, cells: list[str], words: str
) -> None:
    for name in ("r7", "r8"):
        lines = [f"{cell},,," for cell in (cells if name == "r7" else ["-0.05", "5.95"])]
        write(tmp_path / "empty", f"{name}.csv", ["time_s,valence,arousal,stress", *lines])
    with pytest.raises(InputError, match=words) as error:
        fill(world, built, tmp_path / "empty", tmp_path / "out")
    assert len(error.value.problems) == 1  # half a frame before and behind r8 is held


def test_what_does_not_read_back_is_not_submitted(
    world: TargetWorld, built: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("r7", "r8"):
        write(tmp_path / "empty", f"{name}.csv", ["frame,valence,arousal,stress", "7,,,"])
    honest = organisers.FilledFile.text
    monkeypatch.setattr(
        organisers.FilledFile, "text", lambda self: honest(self).replace("7,", "8,", 1)
    )
    with pytest.raises(JobError, match="does not read back"):
        fill(world, built, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_template_says_the_format(world: TargetWorld, built: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --format and --sample"):
        submit(built, world.store, world.bank, format="abaw", out=tmp_path / "o", template=tmp_path)
    with pytest.raises(InputError, match="no such folder, expected the folder of the organisers'"):
        fill(world, built, tmp_path / "nowhere", tmp_path / "out")


def test_from_the_command_line(world: TargetWorld, built: Ensemble, tmp_path: Path) -> None:
    for name in ("r7", "r8"):
        lines = [f"{time:.2f},,," for time in (0, 2.5, 5.9)]
        write(tmp_path / "empty", f"{name}.csv", ["time_s,valence,arousal,stress", *lines])
    options = ("--template", str(tmp_path / "empty"), "--out", str(tmp_path / "out"))
    result = CliRunner().invoke(app, ["submit", "e", *options, "--home", str(world.home.root)])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "2 files, 2 test recordings, 6 rows" in words
    assert "within valence [-1.0, 1.0], arousal [0.0, 1000.0], stress [1.0, 9.0]" in words
    assert "validation, in-sample valence 0." in words and " stress 0." in words
    row = (tmp_path / "out" / "r8.csv").read_text().splitlines()[2]
    assert row == "2.50," + ",".join(f"{value:.6f}" for value in truth(world)["r8"][25])


def test_columns_that_name_frames_must_agree(
    world: TargetWorld, built: Ensemble, tmp_path: Path
) -> None:
    header = "frame,image,time_s,valence,arousal,stress"
    for name in ("r7", "r8"):
        rows = [f"{n},{name}/{n:05d}.jpg,{(n - 1) / 10:.1f},,," for n in (2, 40, 60)]
        write(tmp_path / "empty", f"{name}.csv", [header, *rows])
    fill(world, built, tmp_path / "empty", tmp_path / "out")
    text = (tmp_path / "empty" / "r8.csv").read_text()
    (tmp_path / "empty" / "r8.csv").write_text(text.replace("r8/00040.jpg", "r8/00041.jpg"))
    with pytest.raises(InputError, match=r"r8.csv:3: column 'frame' says frame 40 and column 'ima"):
        fill(world, built, tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "r8.csv").write_text(text.replace("r8/00040.jpg", "r7/00040.jpg"))
    with pytest.raises(InputError, match=r"r8.csv:3: column 'image' names 'r7'"):
        fill(world, built, tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "r8.csv").write_text(text.replace(",3.9,", ",0.0,"))
    with pytest.raises(InputError, match=r"r8.csv:3: time_s 0 of frame 40 after 0.1 of frame 2"):
        fill(world, built, tmp_path / "empty", tmp_path / "out")


def test_sessions_of_numbers_are_parts(world: TargetWorld, built: Ensemble, tmp_path: Path) -> None:
    for name in ("r7", "r8"):
        rows = [f"{1 + (n > 20)},{n / 10:.1f},,," for n in (2, 20, 40)]
        write(tmp_path / "empty", f"{name}.csv", ["session,time_s,valence,arousal,stress", *rows])
    fill(world, built, tmp_path / "empty", tmp_path / "out")
    row = (tmp_path / "out" / "r8.csv").read_text().splitlines()[3]
    assert row == "2,4.0," + ",".join(f"{value:.6f}" for value in truth(world)["r8"][40])


def test_folders_and_cells_of_several_lines(
    world: TargetWorld, built: Ensemble, tmp_path: Path
) -> None:
    """Files lie in folders, one is called by its folder; a quoted cell holds line ends."""
    empty = tmp_path / "empty"
    header = 'frame,"a\nnote",valence,arousal,stress'
    rows = ['7,"two\nlines, "" and",,,', '"9","x\n\n\ny",,,', '11,plain 5" screen,,,']
    (empty / "fold/r8").mkdir(parents=True)
    write(empty / "fold", "r7.csv", [header, *rows])
    write(empty / "fold/r8", "predictions.csv", ["frame,valence,arousal,stress", "3,,,"], "\r\n")
    written = fill(world, built, empty, tmp_path / "out")
    assert written.files == ("fold/r7.csv", "fold/r8/predictions.csv")
    values = truth(world)
    cells = [",".join(f"{value:.6f}" for value in values["r7"][frame]) for frame in (6, 8, 10)]
    lines = [row.removesuffix(",,") + own for row, own in zip(rows, cells, strict=True)]
    assert (tmp_path / "out/fold/r7.csv").read_text() == "\n".join([header, *lines]) + "\n"
    text = (tmp_path / "out/fold/r8/predictions.csv").read_bytes().decode()
    assert text.splitlines()[1].startswith("3,")
    # The folder is known as ours, files in folders and all.
    assert fill(world, built, empty, tmp_path / "out").replaced
    (tmp_path / "out/fold/more.csv").write_text("mine\n")
    with pytest.raises(InputError, match=r"files added or removed \(fold/more.csv\)"):
        fill(world, built, empty, tmp_path / "out")


def test_a_row_of_several_lines_is_told_by_its_own(
    world: TargetWorld, built: Ensemble, tmp_path: Path
) -> None:
    lines = ["video,frame,note,valence,arousal,stress", 'r7,1,"x\ny",,,', "r8,1,,,,", "r8,99,,,,"]
    write(tmp_path / "empty", "all.csv", lines)
    with pytest.raises(InputError, match=r"all\.csv:5: frame 99, but the recording has 60 frames"):
        fill(world, built, tmp_path / "empty", tmp_path / "out")
