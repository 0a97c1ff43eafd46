"""Feature recipes: every problem with its line, weights checked together, hashes that follow the
meaning."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")
pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")

from extract_world import write_recipe

from va_search.errors import InputError
from va_search.extract.recipe import load_recipe

WRONG = """feature_sets:
  - name: a
    extractor: egmaps
  - name: b
    extractor: fbank
    settings: {bins: many, widow: 3}
  - name: b
    extractor: fbank
    pooling: median
    delays: 1
  - {name: ../c, extractor: egemaps, images: crops}
  - extractor: compare
    delay: .nan
face: {}
"""


def test_every_problem_stands_with_its_line(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "wrong.yaml", WRONG)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    text = str(caught.value)
    for part in (
        "wrong.yaml:3: feature_sets[0].extractor: unknown extractor 'egmaps'; did you mean 'egemaps'?",
        "wrong.yaml:6: feature_sets[1].settings.bins: ",
        "found 'many'",
        "wrong.yaml:6: feature_sets[1].settings.widow: unknown key 'widow'; did you mean 'window'?",
        "wrong.yaml:10: feature_sets[2].delays: unknown key 'delays'; did you mean 'delay'?",
        "wrong.yaml:9: feature_sets[2].pooling",
        "wrong.yaml:11: feature_sets[3].name: feature set '../c' can't be used as a file name",
        "wrong.yaml:11: feature_sets[3].images: extractor 'egemaps' hears sound",
        "wrong.yaml:12: feature_sets[4].name: missing",
        "wrong.yaml:13: feature_sets[4].delay",
        "wrong.yaml:14: face: unknown key 'face'; did you mean 'faces'?",
    ):
        assert part in text, (part, text)
    numbers = [int(problem.split(":")[1]) for problem in caught.value.problems]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "text", ["", "- 1", "feature_sets: []", "feature_sets: {a: 1}", "feature_sets: [3]"]
)
def test_what_is_no_recipe_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", text))


def test_all_missing_and_changed_weights_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_bytes(b"content")
    entry = "- {{name: {0}, extractor: onnx_image, settings: {{weights: {{path: {0}.onnx, sha256: {1}}}, {2}}}}}\n"
    more = "size: [8, 8]"
    digest = hashlib.sha256(b"other").hexdigest()
    path = write_recipe(
        tmp_path / "recipe.yaml",
        "feature_sets:\n"
        + "".join(entry.format(name, digest, more) for name in ("one", "two", "there")),
    )
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    problems = caught.value.problems
    assert len(problems) == 3
    assert problems[0].startswith(f"{tmp_path / 'one.onnx'}: no such weights file")
    assert "two.onnx: no such weights file" in problems[1]
    assert "there.onnx: SHA-256" in problems[2]


def test_the_hash_follows_what_comes_out_and_not_where_the_recipe_lies(tmp_path: Path) -> None:
    def hashes(folder: str, text: str) -> list[str]:
        recipe = load_recipe(write_recipe(tmp_path / folder / "recipe.yaml", text))
        return [one.hash for one in recipe.feature_sets]

    one = "feature_sets: [{name: a, extractor: fbank}]"
    assert hashes("x", one) == hashes("y", one)
    assert hashes("x", one) == hashes(
        "x", "feature_sets: [{name: a, extractor: fbank, pooling: mean, delay: 0}]"
    )
    for other in (
        "delay: 0.1",
        "pooling: nearest",
        "pooling: {window: 1}",
        "settings: {bins: 40}",
        "modality: voice",
    ):
        assert hashes("x", one) != hashes(
            "x", f"feature_sets: [{{name: a, extractor: fbank, {other}}}]"
        )
