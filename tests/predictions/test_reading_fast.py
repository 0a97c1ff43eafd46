"""Reading thousands of records: each quick way gives what the obvious one gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from va_search.errors import InputError
from va_search.files import read_json, safe_names
from va_search.predictions.records import (
    RECORD,
    DamagedRecord,
    _plain_document,
    record_document,
    record_names,
)
from va_search.trial_settings import TrialSettings, unused, unused_one_by_one

NUMBERS = [0, -1, 10**30, 0.1, 1e-05, 1e22, 5e-324, 1.7976931348623157e308, 0.30000000000000004]
TEXTS = ["", "valence", "größe", "日本", 'a"b\\c\n', "\u2028", "\U0001f600"]


def drawn_value(generator: random.Random, depth: int) -> Any:
    kind = generator.randrange(7 if depth else 5)
    if kind == 0:
        return generator.choice(NUMBERS)
    if kind == 1:
        return generator.uniform(-1, 1) * 10.0 ** generator.randrange(-12, 12)
    if kind == 2:
        return generator.choice(TEXTS)
    if kind == 3:
        return generator.choice([None, True, False])
    if kind == 4:
        return generator.randrange(-(2**70), 2**70)
    if kind == 5:
        return [drawn_value(generator, depth - 1) for _ in range(generator.randrange(4))]
    return {
        generator.choice(TEXTS): drawn_value(generator, depth - 1)
        for _ in range(generator.randrange(4))
    }


def damaged(content: bytes, generator: random.Random) -> bytes:
    position = generator.randrange(len(content))
    kind = generator.randrange(4)
    if kind == 0:  # half written
        return content[:position]
    if kind == 1:  # another byte
        return content[:position] + bytes([generator.randrange(256)]) + content[position + 1 :]
    if kind == 2:
        return content + content[:position]
    return content.replace(b'"', b"", 1)


@pytest.mark.parametrize("seed", range(300))
def test_a_record_is_read_as_the_plain_reader_reads_it(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    document = {str(number): drawn_value(generator, 3) for number in range(5)}
    content = json.dumps(document, indent=1, ensure_ascii=generator.random() < 0.5).encode()
    if seed % 2:
        content = damaged(content, generator)
    path = tmp_path / RECORD
    path.write_bytes(content)
    try:
        expected = read_json(path)
    except InputError:
        with pytest.raises(DamagedRecord):
            record_document(path, "advice")
        return
    if not isinstance(expected, dict):
        with pytest.raises(DamagedRecord):
            record_document(path, "advice")
        return
    # repr tells 1 from 1.0 and true, and every bit of a number.
    assert repr(record_document(path, "advice")) == repr(expected)


@pytest.mark.parametrize(
    "content",
    [
        b"-0", b"-0.0", b"1e400", b"NaN", b"-Infinity", b'"\\ud800"', b"\xef\xbb\xbf{}", b"", b" ", b"[" * 3000,
        b"9" * 4000, b"9" * 5000, b'{"a": 1, "a": 2}', b"\xff", b"01", b"1.", b"[1,]", b'"\t"',
    ],
)  # fmt: skip
def test_odd_documents_are_read_alike(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / RECORD
    path.write_bytes(content)
    plain = _plain_document(path)
    if plain is not None:
        assert repr(plain) == repr(read_json(path))


def test_names_with_records_are_those_that_a_pattern_finds(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "with space", "größe", "x" * 130, "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    expected = safe_names((path.parent for path in tmp_path.glob(f"*/{RECORD}")), "trial")
    assert record_names(tmp_path) == expected == ["a", "b", "c", "linked"]
    assert record_names(tmp_path / "nothing") == []
    assert record_names(tmp_path / "file") == []


def drawn_settings(generator: random.Random) -> dict[str, Any]:
    settings: dict[str, Any] = {"features": ["f"]}
    choices = {
        "family": ["network", "ridge", "boosting", "nothing", 3],
        "encoder": ["lstm", "tcn", "transformer", "mlp", "mine.py:C@0123456789ab", None],
        "fusion": ["early", "late", "cross_attention"],
        "normalise": ["none", "train", ["train", "recording"], "nothing"],
        "loss": ["ccc", "mse", ["ccc"]],
        "schedule": ["constant", "step", "cosine"],
        "stride": [None, 10, 150, "150"],
        "segment_length": [10, 150],
        "fold": ["official", "train_val_mix", 1],
        "keep": ["best", "ema", "last"],
        "encoder.kernel": [3],
        "loss_weights.joy": [1.0, 2],
        "hidden_size": [512, 8],
    }
    for name in generator.sample(sorted(choices), generator.randrange(len(choices) + 1)):
        settings[name] = generator.choice(choices[name])
    return settings


@pytest.mark.parametrize("seed", range(20))
def test_settings_without_effect_are_those_found_one_by_one(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(200):
        settings = drawn_settings(generator)
        expected = unused_one_by_one(settings)
        assert unused(settings) == expected
        assert unused(settings) == expected  # remembered


def test_a_setting_that_there_is_not_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="hiden_size"):
            TrialSettings(features=("f",), hiden_size=3)
