"""The front ends against their formulas written out another way: sums for the spectrum, loops for
the filters."""

import numpy as np
import pytest

pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from va_search.extract.onnx_audio import KaldiFbank, LogMel, filters, mel

RATE = 16_000
SOUND = (np.random.default_rng(0).normal(size=1_500) * 0.1).astype(np.float32)


def spectrum(frame, length):
    """|DFT| at the points 0 to length / 2, by its definition."""
    times = np.arange(len(frame))
    return np.array(
        [
            abs(np.sum(frame * np.exp(-2j * np.pi * k * times / length)))
            for k in range(length // 2 + 1)
        ]
    )


def triangle(hertz, low, centre, high):
    """HTK: straight flanks on the mel scale, 2595 · log10(1 + f / 700)."""
    place = 2595 * np.log10(1 + hertz / 700)
    if not low < place < high:
        return 0.0
    return (place - low) / (centre - low) if place <= centre else (high - place) / (high - centre)


def filtered(spectrum, bins, low, high, rate=RATE):
    edges = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), bins + 2)
    hertz = np.arange(len(spectrum)) * rate / 2 / (len(spectrum) - 1)
    return np.array(
        [
            sum(
                triangle(f, *edges[b : b + 3]) * value
                for f, value in zip(hertz[1:], spectrum[1:], strict=True)
            )
            for b in range(bins)
        ]
    )


@pytest.mark.parametrize(("power", "offset"), [(1, 0.01), (2, 1e-6)])
def test_log_mel_is_its_formula(power, offset):
    found = LogMel(kind="log_mel", power=power, offset=offset).rows(SOUND)
    assert found.shape == (1 + (1500 - 400) // 160, 64)
    shape = np.sin(np.pi * np.arange(400) / 400) ** 2  # a periodic Hann window
    for row in (0, 3, 6):
        frame = SOUND[160 * row : 160 * row + 400].astype(float) * shape
        expected = np.log(filtered(spectrum(frame, 512) ** power, 64, 125, 7500) + offset)
        np.testing.assert_allclose(found[row], expected, atol=2e-5)


@pytest.mark.parametrize("taper", ["povey", "hamming"])
def test_kaldi_fbank_is_its_formula(taper):
    """Kaldi's: constant part taken off, pre-emphasis 0.97, Hann window to the power of 0.85, 20 Hz
    to half the rate, power spectrum, natural logarithm; sound as 16-bit integers."""
    found = KaldiFbank(kind="fbank", taper=taper).rows(SOUND)
    assert found.shape == (1 + (1500 - 400) // 160, 80)
    turns = np.cos(2 * np.pi * np.arange(400) / 399)
    shape = (0.5 - 0.5 * turns) ** 0.85 if taper == "povey" else 0.54 - 0.46 * turns
    for row in (0, 5):
        frame = SOUND[160 * row : 160 * row + 400].astype(float) * 32768
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] * (1 - 0.97)], frame[1:] - 0.97 * frame[:-1]])
        power = spectrum(frame * shape, 512)[:-1] ** 2  # Kaldi leaves the last point out
        edges = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 82)
        hertz = np.arange(256) * RATE / 512
        for band in range(80):
            weights = [triangle(f, *edges[band : band + 3]) for f in hertz]
            assert found[row, band] == pytest.approx(np.log(np.dot(weights, power)), abs=2e-3), (
                row,
                band,
            )


def test_mel_scale_has_a_thousand_mel_at_a_thousand_hertz():
    assert float(mel(1000.0)) == pytest.approx(1000, abs=0.1)
    assert float(mel(0.0)) == 0


def test_a_tone_is_loudest_in_the_bin_around_it():
    time = np.arange(RATE // 4) / RATE
    for hertz in (300, 1000, 4000):
        rows = LogMel(kind="log_mel").rows(np.sin(2 * np.pi * hertz * time).astype(np.float32))
        loudest = int(rows.mean(axis=0).argmax())
        centres = np.linspace(mel(125.0), mel(7500.0), 66)[1:-1]
        assert abs(centres[loudest] - mel(float(hertz))) <= centres[1] - centres[0]


def test_filters_overlap_to_one_between_the_first_and_the_last_centre():
    weights = filters(20, 2049, RATE, 100, 7000)
    places, centres = (
        mel(np.linspace(0, RATE / 2, 2049)),
        np.linspace(mel(100.0), mel(7000.0), 22)[1:-1],
    )
    within = (places > centres[0]) & (places < centres[-1])
    np.testing.assert_allclose(weights[within].sum(axis=1), 1, atol=1e-9)
    assert not weights[0].any()


def test_sound_shorter_than_a_window_has_no_rows():
    front = LogMel(kind="log_mel", bins=8, low=100, high=7000)
    assert front.rows(SOUND[:399]).shape == (0, 8)
    assert front.rows(SOUND[:400]).shape == (1, 8)
