"""The extractors without weights: dims, centres, seams of chunks, and pooling."""

from __future__ import annotations

import signal
import subprocess
import sys
from time import sleep
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import RATE, clicks, tone

from va_search.data.resampling import Pooler
from va_search.extract.descriptors import (
    Compare,
    CompareSettings,
    Egemaps,
    EgemapsSettings,
    Fbank,
    FbankSettings,
    deltas,
)
from va_search.extract.sound import Sound, windows

EXTRACTORS: dict[str, Any] = {
    "egemaps": (Egemaps(EgemapsSettings()), 25),
    "functionals": (Egemaps(EgemapsSettings(level="functionals", step=1.0)), 88),
    "compare": (Compare(CompareSettings()), 65),
    "compare_deltas": (Compare(CompareSettings(deltas=True)), 130),
    "fbank": (Fbank(FbankSettings()), 80),
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_chunks_give_the_numbers_of_the_whole(name: str) -> None:
    extractor, dim = EXTRACTORS[name]
    sound = Sound(tone(13.0), RATE, 2.5)
    whole = extractor.windows(sound.samples)
    pieces = list(windows(sound, extractor, chunk=5.0))
    assert len(pieces) == 3
    values = np.concatenate([piece.values for piece in pieces])
    centres = np.concatenate([piece.centres for piece in pieces])
    assert values.shape == whole.values.shape == (len(whole.centres), dim)
    assert len(extractor.columns) == len(set(extractor.columns)) == dim
    np.testing.assert_allclose(centres, whole.centres + 2.5, atol=1e-9)
    spread = whole.values.std(axis=0) + 1e-9
    assert (np.abs(values - whole.values) / spread).max() < 1e-4


@pytest.mark.parametrize("name", ["egemaps", "compare", "fbank"])
def test_a_click_is_where_its_windows_centres_are(name: str) -> None:
    extractor, _ = EXTRACTORS[name]
    found = extractor.windows(clicks(4.0, np.array([1.995])))  # 10 ms long, so its middle is at 2 s
    if name == "fbank":
        loud = np.exp(found.values.astype(float)).mean(axis=1)
    else:
        column = {"egemaps": "Loudness_sma3", "compare": "pcm_RMSenergy_sma"}[name]
        loud = found.values[:, extractor.columns.index(column)].astype(float)
    middle = (loud * found.centres).sum() / loud.sum() if loud.min() >= 0 else np.nan
    near = np.abs(found.centres - 2) < 0.1
    middle = (loud[near] * found.centres[near]).sum() / loud[near].sum()
    assert middle == pytest.approx(2.0, abs=0.004)


@pytest.mark.parametrize("slope", [40.0, -40.0])
def test_pitch_is_that_of_the_windows_centre(slope: float) -> None:
    t = np.arange(8 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(250 + slope * (t - 4)) / RATE
    sweep = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1
    extractor, _ = EXTRACTORS["compare"]
    found = extractor.windows(np.asarray(sweep, dtype=np.float32))
    pitch = found.values[:, extractor.columns.index("F0final_sma")]
    inside = slice(150, 650)
    early = (pitch[inside] - 250) / slope + 4 - found.centres[inside]
    assert (
        abs(float(np.mean(early))) < 0.015
    )  # a row's pitch is biased by up to half a hertz, 12 ms here


@pytest.mark.parametrize(
    ("before", "after"), [((300, 0.1), (1500, 0.4)), ((2500, 0.5), (250, 0.2))]
)
def test_zero_crossings_and_energy_step_at_the_same_time(
    before: tuple[int, float], after: tuple[int, float]
) -> None:
    """A tone that steps in pitch and level at 2 s: each column is halfway between its two values
    there."""
    t = np.arange(4 * RATE) / RATE
    parts = [level * np.sin(2 * np.pi * pitch * t) for pitch, level in (before, after)]
    extractor, _ = EXTRACTORS["compare_deltas"]
    found = extractor.windows(np.where(t < 2, *parts).astype(np.float32))
    halves = []
    for name in ("pcm_zcr_sma", "pcm_RMSenergy_sma"):
        values = found.values[:, extractor.columns.index(name)].astype(float)
        low, high = (np.median(values[np.abs(found.centres - at) < 0.5]) for at in (1.2, 2.8))
        share = (values - low) / (high - low)
        at = int(np.argmax((found.centres > 1.5) & (share >= 0.5)))
        halves.append(np.interp(0.5, share[at - 1 : at + 1], found.centres[at - 1 : at + 1]))
        slope = np.abs(found.values[:, extractor.columns.index(f"{name}_de")])
        slope[np.abs(found.centres - 2) > 0.5] = 0
        assert found.centres[slope.argmax()] == pytest.approx(2.0, abs=0.0101)
    np.testing.assert_allclose(halves, 2.0, atol=0.005)


def test_deltas_are_those_of_opensmile() -> None:
    import opensmile

    sound = tone(5.0)
    extractor, _ = EXTRACTORS["compare"]
    plain = opensmile.Smile(
        opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.LowLevelDescriptors
    )
    theirs = opensmile.Smile(
        opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.LowLevelDescriptors_Deltas
    )
    ours = deltas(plain(sound, RATE)[0].T)
    other = theirs(sound, RATE)[0].T[: len(ours)]
    same = slice(6, len(ours) - 6)
    error = np.abs(ours[same] - other[same]).max(axis=0) / (ours.std(axis=0) + 1e-9)
    differing = [
        name for name, value in zip(extractor.columns, error, strict=False) if value > 1e-3
    ]
    assert len(differing) <= 6
    assert all(
        name.startswith(("F0", "voicing", "jitter", "shimmer", "logHNR")) for name in differing
    )


def test_sound_shorter_than_a_window_gives_no_window() -> None:
    for extractor, dim in EXTRACTORS.values():
        found = extractor.windows(np.zeros(100, dtype=np.float32))
        assert found.values.shape == (0, dim)
        assert found.centres.shape == (0,)


def _by_hand(
    times: np.ndarray, centres: np.ndarray, values: np.ndarray, mean: bool, seconds: float | None
) -> np.ndarray:
    rows = []
    for at, time in enumerate(times):
        step = times[at + 1] - time if at + 1 < len(times) else time - times[at - 1]
        low, high = (
            (time, time + step) if seconds is None else (time - seconds / 2, time + seconds / 2)
        )
        inside = (centres >= low) & (centres < high) & mean
        rows.append(
            values[inside].mean(axis=0) if inside.any() else values[np.abs(centres - time).argmin()]
        )
    return np.array(rows)


@pytest.mark.parametrize(("mean", "seconds"), [(False, None), (True, None), (True, 0.3)])
@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_pooling_in_blocks_is_pooling_by_hand(
    mean: bool, seconds: float | None, delay: float
) -> None:
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.02, 0.08, 100))
    centres = np.arange(500) * 0.01 + 0.0125
    centres = centres[
        (centres < 2.0) | (centres > 2.5)
    ]  # a hole, where frames take the nearest row
    values = random.normal(size=(len(centres), 3)).astype(np.float32)
    pooler = Pooler(times, mean=mean, seconds=seconds, delay=delay)
    for start in range(0, len(centres), 37):
        pooler.add(centres[start : start + 37], values[start : start + 37])
    expected = _by_hand(times - delay, centres, values, mean, seconds)
    found = pooler.finish()
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_no_row_at_all_is_none_and_of_two_equally_near_the_earlier_is_taken() -> None:
    assert Pooler(np.array([0.0, 1.0]), mean=True).finish() is None
    pooler = Pooler(np.array([1.0]), mean=False)
    pooler.add(np.array([0.5]), np.array([[1.0]], dtype=np.float32))
    pooler.add(np.array([1.5]), np.array([[2.0]], dtype=np.float32))
    found = pooler.finish()
    assert found is not None
    assert found[0, 0] == 1.0


INTERRUPTED = """
import signal, sys
import numpy as np
from va_search.extract.descriptors import Egemaps, EgemapsSettings
sound = np.sin(np.arange(16_000 * 60) / 20).astype(np.float32)
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job has not
print("ready", flush=True)
try:
    while True:
        Egemaps(EgemapsSettings()).windows(sound)
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.5])
def test_ctrl_c_is_heard_and_loses_no_row(seconds: float) -> None:
    """openSMILE calls Python for each row; an interrupt in such a call would vanish, and the row
    with it."""
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (77, "")
    finally:
        process.kill()
