"""A small torch network exported to ONNX gives torch's numbers; a file that does not fit its
declaration is refused."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")
pytest.importorskip("PIL", reason="needs va-search[extract]")

import onnx
import torch
from onnx import helper
from onnx_world import planted, save
from torch import nn

from va_search.errors import InputError
from va_search.extract.onnx_image import OnnxImage, OnnxImageSettings


class Small(nn.Module):
    """A convolutional network with batch normalisation and two outputs, as a face model with a head
    has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.PReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        features = self.body(images).flatten(1)
        return features, self.head(features)


def settings(path, **other):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    given = {
        "weights": {"path": path, "sha256": digest},
        "size": (24, 20),
        "output": "features",
        "batch_size": 4,
    }
    return OnnxImageSettings.model_validate(given | other)


@pytest.fixture(scope="module")
def network():
    network = Small().eval()
    network.body[1].running_var.fill_(0.3)
    return network


def exported(network, path, images=4, free=True):
    axes = {name: {0: "images"} for name in ("images", "features", "affect")} if free else None
    example = torch.zeros(images, 3, 24, 20)
    names = {"input_names": ["images"], "output_names": ["features", "affect"]}
    torch.onnx.export(network, (example,), str(path), dynamo=False, dynamic_axes=axes, **names)
    return path


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    return exported(network, tmp_path_factory.mktemp("onnx") / "small.onnx")


PICTURES = list(np.random.default_rng(0).integers(0, 256, size=(3, 24, 20, 3), dtype=np.uint8))
DECLARED = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def by_torch(network, pictures):
    values = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(DECLARED[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        return network((values - mean) / std)


def test_gives_the_numbers_of_torch(network, path):
    features, affect = by_torch(network, PICTURES)
    for output, expected in {"features": features, "affect": affect}.items():
        extractor = OnnxImage(settings(path, output=output, **DECLARED))
        assert extractor.columns == tuple(
            f"{output}_{number}" for number in range(expected.shape[1])
        )
        extractor.prepare()
        found = extractor.images(PICTURES)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_file_of_a_fixed_batch_gets_whole_batches(network, tmp_path):
    fixed = exported(network, tmp_path / "fixed.onnx", images=4, free=False)
    extractor = OnnxImage(settings(fixed, **DECLARED))
    extractor.prepare()
    np.testing.assert_allclose(
        extractor.images(PICTURES), by_torch(network, PICTURES)[0].numpy(), atol=1e-5
    )
    with pytest.raises(
        InputError, match=r"fixed.onnx.*shape \[4, 3, 24, 20\].*batch_size 8 makes \[8, 3, 24, 20\]"
    ):
        OnnxImage(settings(fixed, batch_size=8))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"size": 112}, r"shape \[free, 3, 24, 20\].*size 112 × 112.*makes \[4, 3, 112, 112\]"),
        ({"layout": "nhwc"}, r"layout nhwc.*makes \[4, 24, 20, 3\]"),
        ({"output": "featurs"}, r"unknown output 'featurs'; did you mean 'features'"),
        ({"output": None}, r"has 2 outputs, say which with output: features, affect"),
    ],
)
def test_a_declaration_that_does_not_fit_is_one_clear_error(path, other, said):
    with pytest.raises(InputError, match=said):
        OnnxImage(settings(path, **other))


def test_what_only_shows_when_it_runs_is_found_before_anything_is_extracted(network, tmp_path):
    maps = save(
        tmp_path / "maps.onnx",
        [helper.make_node("Relu", ["images"], ["features"])],
        [("images", [None, 3, None, None])],
        [("features", [None, 3, None, None])],
    )
    with pytest.raises(
        InputError,
        match=r"output 'features' has shape \[2, 3, 24, 20\] for 2 images; expected one row",
    ):
        _ = OnnxImage(settings(maps)).columns
    narrow = save(
        tmp_path / "narrow.onnx",
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["features"]),
        ],
        [("images", [None, 3, None, None])],
        [("features", [None, 2])],
        [("w", np.zeros((300, 2), np.float32))],
    )
    with pytest.raises(
        InputError, match=r"narrow.onnx: the network fails on an input of shape \[2, 3, 24, 20\]"
    ):
        _ = OnnxImage(settings(narrow)).columns


def test_a_network_that_was_exported_for_one_image_is_told_how_to_be_used(tmp_path):
    """A reshape to one row inside, as tracing leaves it where code asked for the batch's length."""
    path = save(
        tmp_path / "one.onnx",
        [
            helper.make_node("Reshape", ["images", "one"], ["row"]),
            helper.make_node("MatMul", ["row", "w"], ["features"]),
        ],
        [("images", [None, 3, 24, 20])],
        [("features", [None, 2])],
        [("one", np.array([1, 1440])), ("w", np.ones((1440, 2), np.float32))],
    )
    with pytest.raises(
        InputError, match=r"one.onnx: the network fails on .*for a single one, say batch_size: 1"
    ):
        _ = OnnxImage(settings(path)).columns
    extractor = OnnxImage(settings(path, batch_size=1, scale=1.0))
    assert len(extractor.columns) == 2
    extractor.prepare()
    np.testing.assert_allclose(extractor.images(PICTURES[:1])[0], PICTURES[0].sum(), rtol=1e-5)


def test_files_that_are_no_networks_are_named(path, tmp_path):
    for name, content in {
        "text.onnx": b"weights",
        "empty.onnx": b"",
        "cut.onnx": path.read_bytes()[:700],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: not an ONNX file, or cut short"):
            OnnxImage(settings(tmp_path / name))
    two = helper.make_node("Add", ["a", "b"], ["features"])
    save(tmp_path / "two.onnx", [two], [("a", [1]), ("b", [1])], [("features", [1])])
    with pytest.raises(InputError, match=r"expected a network with one input, found 2 \(a, b\)"):
        OnnxImage(settings(tmp_path / "two.onnx"))


def with_data_in(path, location):
    model = onnx.load(str(planted(path, {"features": np.ones((1, 4))}, size=(24, 20))))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["data.bin", "../outside.bin", "/etc/hostname"])
def test_tensors_in_other_files_are_refused(location, tmp_path):
    """Nothing of them is in the digest that was checked."""
    (tmp_path / "data.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    with pytest.raises(
        InputError, match=rf"1 of its tensors lie in other files \('{location}'\).*SHA-256"
    ):
        OnnxImage(settings(with_data_in(tmp_path / "a.onnx", location), batch_size=1))


def test_a_file_made_whole_as_the_message_says_is_taken(tmp_path):
    (tmp_path / "data.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    path = with_data_in(tmp_path / "a.onnx", "data.bin")
    onnx.save(onnx.load(path), tmp_path / "one.onnx")
    extractor = OnnxImage(settings(tmp_path / "one.onnx", batch_size=1))
    extractor.prepare()
    np.testing.assert_array_equal(extractor.images(PICTURES[:1]), [[0, 1, 2, 3]])


def test_a_device_that_is_not_there_is_told(path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(InputError, match="device cuda: this onnxruntime has no CUDA"):
        OnnxImage(settings(path)).prepare("cuda")
