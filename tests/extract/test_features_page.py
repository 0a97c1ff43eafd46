"""The code on docs/features.md, run as it stands: five kinds of network to ONNX, pickles to
safetensors."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs va-search[extract]")
transformers = pytest.importorskip("transformers", reason="needs va-search[extract]")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from va_search.extract.onnx_image import OnnxImage, OnnxImageSettings  # noqa: E402
from va_search.extract.transformers_audio import TransformersAudio, TransformersAudioSettings  # noqa: E402

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
EXPORT, KINDS, LOAD, CONVERT = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Dense(nn.Module):
    """Each layer sees all maps before it; grey images."""

    def __init__(self):
        super().__init__()
        self.features = DenseLayers()
        self.classifier = nn.Linear(12, 8)

    def forward(self, images):
        return self.classifier(torch.relu(self.features(images)).mean((2, 3)))


class DenseLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 7, stride=4)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(4 + 4 * n), nn.ReLU(), nn.Conv2d(4 + 4 * n, 4, 3, padding=1)
            )
            for n in range(2)
        )

    def forward(self, images):
        maps = self.first(images)
        for layer in self.layers:
            maps = torch.cat([maps, layer(maps)], dim=1)
        return maps


class IResNet(nn.Module):
    """A residual block, then the embedding: dropout, a linear layer, batch normalisation."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 5, stride=8), nn.BatchNorm2d(6), nn.PReLU(6))
        self.block = nn.Sequential(
            nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1), nn.PReLU(6), nn.BatchNorm2d(6)
        )
        self.last = nn.Sequential(nn.Dropout(0.4), nn.Linear(6 * 14 * 14, 16), nn.BatchNorm1d(16))

    def forward(self, images):
        maps = self.first(images)
        return self.last((maps + self.block(maps)).flatten(1))


class ActionUnits(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = IResNet(), nn.Linear(16, 12)

    def forward(self, images):
        return torch.sigmoid(self.head(self.backbone(images)))


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 10, 1),
        )  # fmt: skip
        self.classifier = nn.Linear(10, 2)

    def forward(self, images):
        return self.classifier(self.features(images).mean((2, 3)))


class Mae(nn.Module):
    """A vision transformer of one block: patches, class token, positions, attention."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 32, stride=32)
        self.token, self.positions = (
            nn.Parameter(torch.randn(1, 1, 16)),
            nn.Parameter(torch.randn(1, 50, 16)),
        )
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)

    def forward_features(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)  # (images, 49, 16)
        tokens = (
            torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], dim=1) + self.positions
        )
        query, key, value = (
            part.reshape(-1, 50, 2, 8).transpose(1, 2)
            for part in self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        return tokens + self.out(seen.transpose(1, 2).reshape(-1, 50, 16))


def alive(network):
    """With running statistics that are not those of the first moment, as a trained network has."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The page's lines, run in a folder of their own: (folder, networks)."""
    torch.manual_seed(0)
    kinds = {
        "densenet": Dense,
        "ires100": IResNet,
        "fau": ActionUnits,
        "mobilenet": MobileNet,
        "mae": Mae,
    }
    networks = {name: alive(kind()) for name, kind in kinds.items()}
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(EXPORT + KINDS, dict(networks))  # the page's own code
    return folder, networks


WANTED = {
    "densenet": (
        "densenet",
        lambda net, x: torch.relu(net.features(x)).mean((2, 3)),
        {"size": 64, "colour": "grey"},
    ),
    "ires100": (
        "ires100",
        lambda net, x: net(x),
        {"size": 112, "scale": 1.0, "mean": 127.5, "std": 127.5},
    ),
    "fau": (
        "fau",
        lambda net, x: net.backbone(x),
        {"size": 112, "scale": 1.0, "mean": 127.5, "std": 127.5},
    ),
    "ms_va": ("mobilenet", lambda net, x: net.features(x).mean((2, 3)), {"size": 224}),
    "mae": (
        "mae",
        lambda net, x: net.forward_features(x)[:, 1:].mean(1),
        {"size": 224, "resample": "bicubic"},
    ),
}


@pytest.mark.parametrize("name", WANTED)
def test_each_kind_of_network_gives_torchs_numbers(exported, name):
    folder, networks = exported
    network, features, declared = WANTED[name]
    path = folder / f"{name}.onnx"
    weights = {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    extractor = OnnxImage(OnnxImageSettings.model_validate({"weights": weights, **declared}))
    extractor.prepare()
    pictures = list(
        np.random.default_rng(0).integers(
            0, [[[[64]]], [[[128]]], [[[256]]]], (3, 80, 80, 3), np.uint8
        )
    )
    batch = torch.from_numpy(extractor.settings.batch(pictures))
    with torch.inference_mode():
        expected = features(networks[network], batch).numpy()
    found = extractor.images(pictures)
    assert found.shape == (3, len(extractor.columns)) == expected.shape
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_pickle_is_read_as_tensors_only_and_gives_the_same_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    trained, network = MobileNet(), MobileNet()
    torch.save(trained.state_dict(), "network.pt")
    exec(LOAD, {"torch": torch, "network": network})
    for name, tensor in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_a_pickle_that_would_run_code_is_refused_by_the_pages_lines(tmp_path, monkeypatch):
    class Nasty:
        def __reduce__(self):
            return (Path("ran").touch, ())

    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Nasty()}, "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        exec(CONVERT, {"torch": torch})
    assert not Path("ran").exists()


def test_an_old_checkpoint_of_transformers_becomes_safetensors(tmp_path, monkeypatch):
    """With the names that checkpoints of its time have: weight_g and weight_v."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tiny = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    tiny |= {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = transformers.HubertModel(transformers.HubertConfig(**tiny)).eval()
    model.config.save_pretrained(tmp_path)
    old = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state = model.state_dict()
    for new, name in old.items():
        state = {key.replace(new, name): value for key, value in state.items()}
    assert any("weight_g" in name for name in state)
    torch.save(state, "pytorch_model.bin")
    exec(CONVERT, {"torch": torch})
    weights = {"path": tmp_path / "model.safetensors", "sha256": "0" * 64}
    extractor = TransformersAudio(
        TransformersAudioSettings.model_validate({"weights": weights, "normalise": False})
    )
    extractor.prepare()
    sound = np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(sound)[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(extractor.windows(sound).values, expected, atol=1e-5)
