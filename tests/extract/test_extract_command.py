"""`va-search extract --workers 1`, in the command's own process: exit codes, messages, going on."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import tone, write_labels, write_recipe, write_video

from va_search.cli.main import app

TIMES = np.arange(60) / 30


def run(folder, *more):
    where = [
        "--videos",
        folder / "videos",
        "--annotations",
        folder / "labels",
        "--to",
        folder / "store",
    ]
    words = ["extract", folder / "r.yaml", *where, "--workers", 1, *more]
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    for number, split in enumerate(("Train_Set", "Validation_Set")):
        write_video(tmp_path / "videos" / f"v{number}.mp4", TIMES, tone(2.0, seed=number))
        write_labels(tmp_path / "labels", f"v{number}", 60, split)
    write_recipe(
        tmp_path / "r.yaml", "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 8}}\n"
    )
    return tmp_path


def test_a_store_is_made_and_found_again(folder):
    made = run(folder, "--json")
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    assert (
        said["made"] == ["mel"]
        and said["recordings"] == 2
        and said["video_seconds"] == pytest.approx(4.0, abs=0.1)
    )
    again = run(folder)
    assert again.exit_code == 0 and "already there" in again.stdout


def test_a_broken_video_is_told_what_is_finished_is_kept_and_the_same_command_goes_on(folder):
    video = folder / "videos" / "v1.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    broken = run(folder)
    assert broken.exit_code == 2
    assert f"{video}: {len(whole) // 2:,} bytes that are no whole video" in broken.output.replace(
        "\n", ""
    )
    assert "1 of 2 recordings are extracted and kept" in broken.output.replace("\n", " ")
    video.write_bytes(whole)
    mended = run(folder, "--json")
    assert mended.exit_code == 0 and json.loads(mended.stdout)["recordings"] == 1
