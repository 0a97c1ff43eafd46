"""`va-search data` as a user types it: summary, --json, exit codes, the same command twice."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from streams_world import write_csv, write_source
from typer.testing import CliRunner

from va_search.cli.data import app


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        app, list(map(str, arguments)), env={"COLUMNS": "80", "NO_COLOR": "1"}
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four recordings of 30 frames in the table layout; the person of a and d is one."""
    folder = tmp_path / "source"
    (folder / "recordings").mkdir(parents=True)
    (folder / "dataset.yaml").write_text(
        "name: mine\nlabel_range: [0, 1]\nframes_per_second: 10\n"
        "features:\n  heart: {modality: body, columns: [rate]}\n"
    )
    rows = ["recording,subject,split", "a,s1,train", "b,s2,train", "c,s3,validation", "d,s4,test"]
    (folder / "recordings.csv").write_text("\n".join(rows) + "\n")
    for offset, name in enumerate("abcd"):  # no recording is a copy of another
        lines = [
            f"{frame % 7 + offset},{frame / 30:.2f},{1 - frame / 30:.2f}" for frame in range(30)
        ]
        (folder / "recordings" / f"{name}.csv").write_text(
            "\n".join(["rate,valence,arousal", *lines]) + "\n"
        )
    return folder


def test_import_prints_a_summary_and_the_next_command_and_twice_is_fine(
    source: Path, tmp_path: Path
) -> None:
    to = tmp_path / "stores" / "mine"
    first = run("import", "table", source, "--to", to)
    assert first.exit_code == 0, first.stderr
    assert f"{to}: imported" in first.stdout
    assert "heart" in first.stdout and f"next: va-search data check {to}" in first.stdout
    assert len(first.stdout.splitlines()) < 30
    again = run("import", "table", source, "--to", to)
    assert again.exit_code == 0 and "already there" in again.stdout


def test_the_next_command_works_in_a_folder_with_a_space(source: Path, tmp_path: Path) -> None:
    made = run("import", "table", source, "--to", tmp_path / "my stores")
    (line,) = [line for line in made.stdout.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words == ["va-search", "data", "check", str(tmp_path / "my stores")]
    checked = run(*words[2:])
    assert checked.exit_code == 0
    assert f"--data {shlex.quote(words[-1])}" in checked.stdout


def test_json_is_one_document_on_standard_output(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "mine"
    (source / "recordings" / "z.csv").write_text("rate\n1\n")
    imported = run("import", "table", source, "--to", to, "--dtype", "float16", "--json")
    document = json.loads(imported.stdout)
    assert document["already_there"] is False and document["feature_sets"][0]["dtype"] == "float16"
    assert [counts["recordings"] for counts in document["splits"]] == [2, 1, 1]
    assert "z.csv" in document["warnings"][0] and "warning" in imported.stderr
    report = json.loads(run("check", to, "--json").stdout)
    assert report["frame_rates"] == {"10.0": 4}
    assert [finding["level"] for finding in report["findings"]] == [
        "warning",
        "note",
        "note",
    ]  # z.csv; test; subjects


def test_check_ends_with_2_on_errors_and_0_on_warnings(source: Path, tmp_path: Path) -> None:
    run("import", "table", source, "--to", tmp_path / "good")
    good = run("check", tmp_path / "good")
    assert good.exit_code == 0 and "0 errors" in good.stdout and "va-search plan" in good.stdout
    text = (source / "recordings.csv").read_text()
    (source / "recordings.csv").write_text(text.replace("s3", "s1"))
    told = run("import", "table", source, "--to", tmp_path / "leaking")
    assert "error: subject s1: stands in train and validation" in " ".join(told.stderr.split())
    leaking = run("check", tmp_path / "leaking")
    assert leaking.exit_code == 2
    assert "error: subject s1: stands in train and validation; leakage" in leaking.stdout
    assert "put the errors right" in leaking.stdout


def test_wrong_input_ends_with_2_and_every_problem(source: Path, tmp_path: Path) -> None:
    for name in "ac":
        file = source / "recordings" / f"{name}.csv"
        file.write_text(file.read_text().replace(",0.10,", ",ten,"))
    ended = run("import", "table", source, "--to", tmp_path / "store")
    assert ended.exit_code == 2 and ended.stdout == ""
    assert "a.csv:5: column 'valence': 'ten' is not a number" in ended.stderr
    assert "c.csv:5" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "store").exists()


def test_wrong_paths_end_with_2(tmp_path: Path) -> None:
    nowhere = run("check", tmp_path / "nowhere")
    assert nowhere.exit_code == 2 and "not a store: no such folder" in nowhere.stderr
    refused = run("import", "affwild2", tmp_path / "nowhere", "--to", tmp_path / "store", "--json")
    assert refused.exit_code == 2 and json.loads(refused.stdout)["exit_code"] == 2


def test_simulate_then_check_changed_store(tmp_path: Path) -> None:
    made = run(
        "import",
        "simulate",
        "--size",
        "tiny",
        "--to",
        tmp_path / "s",
        "--hidden",
        tmp_path / "hidden",
    )
    assert made.exit_code == 0, made.stderr
    assert "without a face" in made.stdout and len(list((tmp_path / "hidden").iterdir())) >= 3
    file = tmp_path / "s" / "features" / "face.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    changed = run("check", tmp_path / "s")
    assert changed.exit_code == 2
    assert "features/face.arrow: changed since it was written" in changed.stderr


def test_simulate_like_affwild2_then_its_folds(tmp_path: Path) -> None:
    to = tmp_path / "like"
    made = run(
        "simulate",
        "--like",
        "affwild2",
        "--scale",
        "0.001",
        "--to",
        to,
        "--hidden",
        tmp_path / "hidden",
    )
    assert made.exit_code == 0, made.stderr
    assert (
        "hubert" in made.stdout
        and "float16" in made.stdout
        and len(list((tmp_path / "hidden").iterdir())) == 5
    )
    assert f"no folds; to make some: va-search data folds {to}" in run("check", to).stdout
    folded = run("folds", to, "--k", "4", "--keep-validation", "--tries", "20")
    assert (
        folded.exit_code == 0 and "folds made" in folded.stdout and "4 (official)" in folded.stdout
    )
    again = run("folds", to, "--k", "4", "--keep-validation", "--tries", "20", "--json")
    document = json.loads(again.stdout)
    assert (
        document["already_there"] is True
        and len(document["folds"]) == 16
        and len(document["rows"]) == 4
    )
    assert "folds: 1 (" in run("check", to).stdout
    refused = run("folds", to, "--k", "3")
    assert (
        refused.exit_code == 2
        and "--k 4 --keep-validation" in refused.stderr
        and "copy the store" in refused.stderr
    )


def test_simulate_is_one_command_at_both_places(tmp_path: Path) -> None:
    for command in (["simulate"], ["import", "simulate"]):
        help_text = run(*command, "--help").stdout
        assert "--scale" in help_text and "data simulate --like" in " ".join(help_text.split())
        for wrong in (
            ["--scale", "0.1"],
            ["--like", "affwild2", "--size", "tiny"],
            ["--like", "affwild2", "--scale", "2"],
        ):
            assert run(*command, *wrong, "--to", tmp_path / "store").exit_code == 2
    assert not (tmp_path / "store").exists()


def test_help_shows_an_example_and_imports_nothing_heavy() -> None:
    assert "Example: va-search data import table" in run("import", "table", "--help").stdout
    heavy = "{'torch', 'ray', 'pandas', 'scipy', 'pyarrow'}"
    code = f"import sys, va_search.cli.data; print(sorted({heavy} & {{*sys.modules}}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_exit_code_and_streams_of_a_real_process(source: Path, tmp_path: Path) -> None:
    (source / "recordings" / "a.csv").write_text("")
    code = "from va_search.cli.data import app; app()"
    command = [
        sys.executable,
        "-c",
        code,
        "import",
        "table",
        str(source),
        "--to",
        str(tmp_path / "s"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a.csv: empty file" in ended.stderr


def test_an_import_of_streams_prints_and_keeps_its_report(tmp_path: Path) -> None:
    document = {
        "name": "mine",
        "targets": {"joy": {"range": [0, 50], "files": "joy/{recording}.csv"}},
        "features": {"face": {"modality": "visual", "files": "face/{recording}.csv"}},
    }
    rows = [("a", "s1", "train"), ("b", "s2", "validation")]
    source = write_source(tmp_path / "source", document, rows)
    for recording, _, _ in rows:
        joy = [(second, second) for second in range(20)]
        write_csv(source / f"joy/{recording}.csv", ["time_s", "joy"], joy)
        smiles = [(row / 10, row) for row in range(200) if not 50 <= row < 90]
        write_csv(source / f"face/{recording}.csv", ["time_s", "smile"], smiles)
    to = tmp_path / "store"
    printed = run("import", "streams", source, "--to", to)
    assert printed.exit_code == 0, printed.stderr
    assert "frames: 40 at 1 per second, made by the labels' clock" in printed.stdout
    assert "face" in printed.stdout and "80.0%" in printed.stdout
    assert "8 frames lack some stream" in printed.stdout
    again = run("import", "streams", source, "--to", to, "--json")
    document = json.loads(again.stdout)
    assert document["already_there"] is True
    assert document["targets"] == [{"name": "joy", "low": 0.0, "high": 50.0}]
    assert document["streams"] == json.loads((to / "streams.json").read_text())
    assert document["streams"]["streams"][0]["gaps"] == 2
    (source / "streams.yaml").write_text("name: mine\n")
    refused = run("import", "streams", source, "--to", tmp_path / "other")
    assert refused.exit_code == 2
    assert "targets" in refused.stderr and "features" in refused.stderr
