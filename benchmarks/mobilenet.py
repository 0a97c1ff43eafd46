"""An ONNX file of MobileNet's size with random weights, for what it costs to run one: the numbers
mean nothing.

    python benchmarks/mobilenet.py mobilenet.onnx [--size 112]

MobileNet of width 1 (Howard et al., 2017, table 1): a convolution, 13 depthwise-separable blocks,
the average over positions: 1,024 features, 3.2 million weights, 0.57 thousand million
multiplications for an image of 224 × 224."""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path

import torch
from torch import nn

BLOCKS = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
]
"""Channels that come out of each block, and its stride."""


def layer(given: int, made: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(given, made, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(made), nn.ReLU(inplace=True)]


def mobilenet() -> nn.Module:
    """(images, 3, height, width) to (images, 1024); weights from seed 0."""
    torch.manual_seed(0)
    layers, channels = layer(3, 32, 3, 2), 32
    for made, stride in BLOCKS:
        layers += [
            *layer(channels, channels, 3, stride, groups=channels),
            *layer(channels, made, 1, 1),
        ]
        channels = made
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in network:
        if isinstance(
            module, nn.Conv2d
        ):  # keeps values of one size through all layers: none so small as to be slow
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network.eval()


def write_mobilenet(path: Path, size: int = 112) -> str:
    """Write the network for images of `size` × `size`, (free, 3, size, size) to (free, 1024); its
    SHA-256."""
    axes = {"images": {0: "images"}, "features": {0: "images"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # dynamo=True would need onnxscript
        torch.onnx.export(
            mobilenet(),
            (torch.zeros(1, 3, size, size),),
            str(path),
            dynamo=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_axes=axes,
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=112)
    arguments = parser.parse_args()
    print(write_mobilenet(arguments.path, arguments.size))
