"""Patches of sound through an ONNX network: values, middles, seams between chunks, and what does
not fit."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")
pytest.importorskip("av", reason="needs va-search[extract]")

from onnx import helper
from onnx_world import save
from pydantic import ValidationError

from va_search.errors import InputError
from va_search.extract.onnx_audio import KaldiFbank, LogMel, OnnxAudio, OnnxAudioSettings
from va_search.extract.sound import Sound, windows

SOUND = (np.random.default_rng(0).normal(size=16_000 * 5) * 0.1).astype(np.float32)
VGGISH = {
    "front": {"kind": "log_mel"},
    "patch": {"frames": 96, "every": 24},
    "layout": "channel_frames_bins",
}
SPEAKER = {
    "front": {"kind": "fbank"},
    "patch": {"frames": 150, "every": 10, "mean": True},
    "layout": "frames_bins",
}


def averages(path, axes, shape):
    """A network whose features are the averages over the axes given: one value a bin."""
    nodes = [
        helper.make_node("ReduceMean", ["sound"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Mul", ["means", "two"], ["features"]),
    ]
    return save(
        path, nodes, [("sound", shape)], [("features", [None, None])], [("two", np.float32(2))]
    )


def last_rows(path):
    """Takes the last row of a patch: (patches, frames, bins) to (patches, bins)."""
    node = helper.make_node("Gather", ["sound", "last"], ["features"], axis=1)
    return save(
        path,
        [node],
        [("sound", [None, 150, 80])],
        [("features", [None, 80])],
        [("last", np.int64(149))],
    )


def settings(path, given, **other):
    weights = {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return OnnxAudioSettings.model_validate(given | {"weights": weights, "batch_size": 4} | other)


def built(path, given, **other):
    extractor = OnnxAudio(settings(path, given, **other))
    extractor.prepare()
    return extractor


@pytest.fixture
def vggish(tmp_path):
    return averages(tmp_path / "vggish.onnx", [1, 2], [None, 1, 96, 64])


def test_each_patch_is_seen_once_and_placed_at_its_middle(vggish):
    extractor = built(vggish, VGGISH)
    found = extractor.windows(SOUND)
    rows = LogMel(kind="log_mel").rows(SOUND)  # 498 rows of 64 bins
    starts = range(0, len(rows) - 96 + 1, 24)
    np.testing.assert_allclose(
        found.values, [2 * rows[start : start + 96].mean(axis=0) for start in starts], atol=1e-4
    )
    assert extractor.columns == tuple(f"features_{number}" for number in range(64))
    np.testing.assert_allclose(
        found.centres, [start * 0.01 + (95 * 0.01 + 0.025) / 2 for start in starts]
    )


def test_speaker_patches_have_their_mean_taken_off(tmp_path):
    found = built(last_rows(tmp_path / "a.onnx"), SPEAKER).windows(SOUND)
    rows = KaldiFbank(kind="fbank").rows(SOUND)
    expected = [
        rows[start + 149] - rows[start : start + 150].mean(axis=0)
        for start in range(0, len(rows) - 149, 10)
    ]
    np.testing.assert_allclose(found.values, expected, atol=1e-4)


@pytest.mark.parametrize(
    "layout", ["frames_bins", "bins_frames", "channel_frames_bins", "frames_bins_channel"]
)
def test_bins_and_frames_lie_where_the_layout_says(layout, tmp_path):
    axes, shape = {
        "frames_bins": ([1], [None, 96, 64]),
        "bins_frames": ([2], [None, 64, 96]),
        "channel_frames_bins": ([1, 2], [None, 1, 96, 64]),
        "frames_bins_channel": ([1, 3], [None, 96, 64, 1]),
    }[layout]
    found = built(averages(tmp_path / "a.onnx", axes, shape), VGGISH, layout=layout).windows(
        SOUND[:32_000]
    )
    np.testing.assert_allclose(
        found.values[0], 2 * LogMel(kind="log_mel").rows(SOUND)[:96].mean(axis=0), atol=1e-4
    )


@pytest.mark.parametrize("name", ["vggish", "speaker"])
def test_chunks_give_what_the_whole_gives(name, vggish, tmp_path):
    """A patch depends on its own sound alone, so the seams leave no trace."""
    extractor = built(
        *((vggish, VGGISH) if name == "vggish" else (last_rows(tmp_path / "a.onnx"), SPEAKER))
    )
    whole = extractor.windows(SOUND)
    for chunk in (0.5, 1.3, 2.0):
        parts = list(windows(Sound(SOUND, extractor.rate, 0.0), extractor, chunk))
        np.testing.assert_allclose(
            np.concatenate([part.centres for part in parts]), whole.centres, atol=1e-9
        )
        np.testing.assert_allclose(
            np.concatenate([part.values for part in parts]), whole.values, atol=1e-4
        )


def test_a_file_of_a_fixed_batch_gets_whole_batches(tmp_path):
    fixed = built(averages(tmp_path / "fixed.onnx", [1, 2], [4, 1, 96, 64]), VGGISH)
    free = built(averages(tmp_path / "free.onnx", [1, 2], [None, 1, 96, 64]), VGGISH)
    np.testing.assert_allclose(fixed.windows(SOUND).values, free.windows(SOUND).values, atol=1e-5)


def test_short_sound_has_no_windows(vggish):
    found = built(vggish, VGGISH).windows(SOUND[:15_000])
    assert (found.values.shape, found.centres.shape) == ((0, 64), (0,))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"layout": "frames_bins"},
            r"shape \[free, 1, 96, 64\].*96 × 64, layout frames_bins.* makes \[4, 96, 64\]",
        ),
        ({"front": {"kind": "log_mel", "bins": 128}}, r"makes \[4, 1, 96, 128\]"),
        ({"output": "embedding"}, "unknown output 'embedding'"),
    ],
)
def test_a_declaration_that_does_not_fit_is_one_clear_error(vggish, other, said):
    with pytest.raises(InputError, match=said):
        OnnxAudio(settings(vggish, VGGISH, **other))


def test_an_output_of_rows_in_time_is_refused(tmp_path):
    node = helper.make_node("Relu", ["sound"], ["features"])
    path = save(
        tmp_path / "a.onnx", [node], [("sound", [None, 150, 80])], [("features", [None, 150, 80])]
    )
    with pytest.raises(
        InputError,
        match=r"output 'features' has shape \[2, 150, 80\] for 2 patches; expected one row",
    ):
        _ = OnnxAudio(settings(path, SPEAKER)).columns


@pytest.mark.parametrize(
    "wrong",
    [
        {"front": {"kind": "mfcc"}},
        {"front": {"kind": "log_mel", "low": 8000}},
        {"front": {"kind": "log_mel", "high": 9000}},
        {"front": {"kind": "fbank", "offset": 0.1}},
        {"front": {"kind": "fbank", "window": 2.0}},
        {"patch": {"frames": 0, "every": 1}},
        {"layout": "bins"},
    ],
)
def test_a_front_end_that_can_not_be_is_refused(vggish, wrong):
    with pytest.raises(ValidationError):
        settings(vggish, VGGISH | wrong)
