"""A store keeps the recipe of its feature sets, by which new videos are extracted alike."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import tone, write_labels, write_recipe, write_video
from onnx import helper
from onnx_world import save

from va_search.data.manifest import Manifest, write_manifest
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.extract.stored_recipe import KEY, recipe_of_file, recipe_of_store

TIMES = np.arange(30) / 30
NEEDED = ("mel", "light")


def write_network(path: Path, weight: float = 1.0) -> str:
    """A network that gives the brightness of a picture times `weight`; its SHA-256."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "weight"], ["features"]),
    ]
    constants = [("weight", np.array([weight], np.float32))]
    save(path, nodes, [("input", [None, 3, 16, 16])], [("features", [None, 3])], constants)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def recipe_text(digest: str, network: str = "light.onnx", bins: int = 8) -> str:
    return f"""
feature_sets:
- {{name: mel, extractor: fbank, settings: {{bins: {bins}}}, channel: mean}}
- name: light
  extractor: onnx_image
  images: frames
  settings: {{size: 16, weights: {{path: {network}, sha256: {digest}}}}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A recipe and the store that was made with it, in a folder."""
    for number, split in enumerate(("Train_Set", "Validation_Set")):
        write_video(tmp_path / "videos" / f"v{number}.mp4", TIMES, tone(1.0, seed=number))
        write_labels(tmp_path / "labels", f"v{number}", len(TIMES), split)
    digest = write_network(tmp_path / "light.onnx")
    recipe = write_recipe(tmp_path / "r.yaml", recipe_text(digest))
    extract_again(tmp_path, recipe)
    return tmp_path


def extract_again(folder: Path, recipe: Path) -> None:
    sources = Sources(folder / "videos", folder / "labels")
    extract(load_recipe(recipe), sources, folder / "store")


def forget_recipe(store: Path) -> None:
    """Make the store one from before recipes were kept."""
    document = {**Manifest.read(store).document}
    del document[KEY]
    write_manifest(store, document, Store.open(store).files)


def test_the_recipe_of_a_store_is_the_one_it_was_made_with(world: Path) -> None:
    matched = recipe_of_store(Store.open(world / "store"), NEEDED)
    written = load_recipe(world / "r.yaml")
    assert matched.recipe.feature_sets == written.feature_sets
    assert (matched.given_crops, matched.remarks) == (False, ())
    assert [
        entry.name
        for entry in recipe_of_store(Store.open(world / "store"), ["mel"]).recipe.feature_sets
    ] == ["mel"]


def test_weights_that_moved_or_changed_are_refused(world: Path) -> None:
    store = Store.open(world / "store")
    network = world / "light.onnx"
    network.rename(world / "moved.onnx")
    with pytest.raises(InputError, match=r"light.onnx: no such weights file") as missing:
        recipe_of_store(store, NEEDED)
    assert "--recipe FILE" in str(missing.value)
    write_network(network, 2.0)
    with pytest.raises(InputError, match=r"light.onnx: SHA-256 \w+, expected \w+; another file"):
        recipe_of_store(store, NEEDED)
    # A recipe says where the weights are now; one with other weights is refused.
    digest = hashlib.sha256((world / "moved.onnx").read_bytes()).hexdigest()
    moved = write_recipe(world / "moved.yaml", recipe_text(digest, "moved.onnx"))
    assert recipe_of_file(moved, store, NEEDED).remarks == ()
    other = hashlib.sha256(network.read_bytes()).hexdigest()
    changed = write_recipe(world / "changed.yaml", recipe_text(other))
    with pytest.raises(InputError, match=r"'light' would not be the one that members were trained"):
        recipe_of_file(changed, store, NEEDED)
    bins = write_recipe(world / "bins.yaml", recipe_text(digest, "moved.onnx", bins=9))
    with pytest.raises(InputError, match=r"'mel' would not be the one"):
        recipe_of_file(bins, store, NEEDED)
    with pytest.raises(
        InputError, match=r"unknown feature set 'face' \(known: mel\); the ensemble"
    ):
        recipe_of_file(moved, store, ["mel", "face"])


def test_a_store_from_before_is_given_its_recipe_by_the_same_command_or_by_a_file(
    world: Path,
) -> None:
    forget_recipe(world / "store")
    before = json.loads((world / "store" / "manifest.json").read_text())
    store = Store.open(world / "store")
    with pytest.raises(InputError, match=r"'mel' is extracted. Run the same `va-search extract`"):
        recipe_of_store(store, NEEDED)
    assert recipe_of_file(world / "r.yaml", store, NEEDED).remarks == ()
    extract_again(world, world / "r.yaml")
    after = json.loads((world / "store" / "manifest.json").read_text())
    assert {*after} - {*before} == {KEY}
    assert [after[key] for key in before if key != "seal"] == [
        before[key] for key in before if key != "seal"
    ]
    assert len(recipe_of_store(Store.open(world / "store"), NEEDED).recipe.feature_sets) == 2


def test_imported_feature_sets_need_a_recipe_that_can_not_be_compared(world: Path) -> None:
    document = {**Manifest.read(world / "store").document}
    del document[KEY], document["definitions"]
    write_manifest(world / "store", document, Store.open(world / "store").files)
    store = Store.open(world / "store")
    with pytest.raises(InputError, match=r"'light' was imported, and nothing says how"):
        recipe_of_store(store, NEEDED)
    (remark,) = recipe_of_file(world / "r.yaml", store, NEEDED).remarks
    assert "how mel, light of the training's store came about" in remark
