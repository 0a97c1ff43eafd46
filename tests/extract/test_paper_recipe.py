"""feature_recipes/paper.yaml: all weights missing in one message; with stand-ins of the right shape
it extracts."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs va-search[extract]")
transformers = pytest.importorskip("transformers", reason="needs va-search[extract]")
pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")

from extract_world import tone, write_crops, write_labels, write_video  # noqa: E402
from onnx import helper  # noqa: E402
from onnx_world import save  # noqa: E402

from va_search.errors import InputError  # noqa: E402
from va_search.extract.pipeline import extract  # noqa: E402
from va_search.extract.recipe import load_recipe  # noqa: E402
from va_search.extract.sources import Sources  # noqa: E402

pytestmark = pytest.mark.timeout(180)
PAPER = Path(__file__).parents[2] / "feature_recipes" / "paper.yaml"
NETWORKS = {  # input after the batch, features: the stand-ins have the published networks' shapes
    "densenet": ([1, 64, 64], 342),
    "ires100": ([3, 112, 112], 512),
    "fau": ([3, 112, 112], 512),
    "ms_va": ([3, 224, 224], 512),
    "mae": ([3, 224, 224], 768),
    "vggish": ([1, 96, 64], 128),
    "ecapatdnn": ([300, 80], 192),
}
DIMS = {
    **{name: dim for name, (_, dim) in NETWORKS.items()},
    "egemaps": 25,
    "compare": 130,
    "fbank": 80,
    "wav2vec": 16,
    "hubert": 16,
}
SETS = ["densenet", "ires100", "fau", "ms_va", "mae"]
SETS += ["egemaps", "compare", "fbank", "vggish", "wav2vec", "hubert", "ecapatdnn"]


def stand_in(path, shape, dim):
    """The average of the input times a row of numbers: (free, *shape) to (free, dim)."""
    nodes = [
        helper.make_node(
            "ReduceMean", ["input"], ["mean"], axes=list(range(1, len(shape) + 1)), keepdims=0
        ),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "row"], ["features"]),
    ]
    constants = [("one", np.array([1])), ("row", np.linspace(-1, 1, dim, dtype=np.float32)[None])]
    save(path, nodes, [("input", [None, *shape])], [("features", [None, dim])], constants)


def checkpoint(folder, config, model):
    tiny = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    tiny |= {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model(config(**tiny)).save_pretrained(folder)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The recipe with stand-ins in the place of the weights and their digests in the place of the
    noughts."""
    weights = tmp_path_factory.mktemp("recipes") / "weights"
    weights.mkdir(parents=True)
    for name, (shape, dim) in NETWORKS.items():
        stand_in(weights / f"{name}.onnx", shape, dim)
    checkpoint(weights / "wav2vec", transformers.Wav2Vec2Config, transformers.Wav2Vec2Model)
    checkpoint(weights / "hubert", transformers.HubertConfig, transformers.HubertModel)

    def digest(found):
        content = (weights.parent / found["path"]).read_bytes()
        return f'{{path: {found["path"]}, sha256: "{hashlib.sha256(content).hexdigest()}"}}'

    text, changed = re.subn(r'\{path: (?P<path>\S+), sha256: "0{64}"\}', digest, PAPER.read_text())
    assert changed == 9
    path = weights.parent / "paper.yaml"
    path.write_text(text)
    return path


def test_every_missing_file_is_told_at_once():
    with pytest.raises(InputError) as told:
        load_recipe(PAPER)
    assert len(told.value.problems) == 9
    for name in [*NETWORKS, "wav2vec", "hubert"]:
        assert re.search(
            rf"weights/{name}(\.onnx|/model\.safetensors): no such weights file", str(told.value)
        ), name


@pytest.mark.slow
def test_noughts_are_answered_with_the_digest_that_was_found(filled):
    noughts = filled.with_name("noughts.yaml")
    shutil.copy(PAPER, noughts)
    with pytest.raises(
        InputError, match=r"hubert/model.safetensors: SHA-256 [0-9a-f]{64}, expected 0{64}"
    ):
        load_recipe(noughts)


@pytest.mark.slow
def test_all_twelve_are_extracted_into_one_store(filled, tmp_path):
    for name, split in {"one": "Train_Set", "two": "Validation_Set"}.items():
        write_video(tmp_path / "videos" / f"{name}.mp4", np.arange(130) / 25, tone(5.4))
        write_labels(tmp_path / "labels", name, 130, split)
        write_crops(
            tmp_path / "crops" / name, [number for number in range(1, 131) if number not in (7, 8)]
        )
    recipe = load_recipe(filled)
    places = Sources(tmp_path / "videos", tmp_path / "labels", tmp_path / "crops")
    store = extract(recipe, places, tmp_path / "store").store
    assert list(store.feature_sets) == SETS
    assert {name: one.dim for name, one in store.feature_sets.items()} == DIMS
    modalities = {name: one.modality for name, one in store.feature_sets.items()}
    assert modalities == {name: "visual" if name in SETS[:5] else "audio" for name in SETS}
    for name in SETS:
        values = store.features(name)
        assert np.isfinite(values).all(), name
        assert np.ptp(values, axis=0).max() > 0, (
            name
        )  # it follows the sound, or the crops' brightness
    assert np.flatnonzero(~store.valid).tolist() == [6, 7, 136, 137]
    # the crops' brightness is their number + 50: (pixel - 127.5) / 127.5 times the row's last
    # number, which is 1
    expected = (np.array([56, 56, 59, 59]) - 127.5) / 127.5
    np.testing.assert_allclose(store.features("ires100")[5:9, -1], expected, atol=0.01)
