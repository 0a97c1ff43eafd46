"""Aligned faces: a similarity transform of five landmarks to a template, and the picture warped by
it (paper 3.1).

Conventions: pictures are uint8 (height, width, 3), RGB; points are (x, y) in pixels, the centre of
the first pixel at (0, 0). The five landmarks, as they lie in the picture: the eye on the left, the
eye on the right, the tip of the nose, the corner of the mouth on the left, the one on the right
(the order of YuNet's and of SCRFD's outputs)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Points = NDArray[np.float64]

TEMPLATE_SIZE = 112
TEMPLATE: Points = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""(5, 2) where ArcFace's 112 × 112 crops, and models trained on them, have the landmarks (Deng et
al., 2019)."""


def similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """(2, 3) rotation, uniform scale and shift that bring `source` nearest to `target`, both
    (points, 2).

    Least squares in closed form (Umeyama, 1991), never a reflection. NaN where all of `source` is
    one point."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = (source_centred**2).sum() / len(source)
    if variance == 0:
        return np.full((2, 3), np.nan)
    covariance = target_centred.T @ source_centred / len(source)  # (2, 2)
    left, sizes, right = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0 if np.linalg.det(left @ right) > 0 else -1.0])
    turn = (left * signs) @ right
    scale = (sizes * signs).sum() / variance
    return np.column_stack([scale * turn, target_mean - scale * turn @ source_mean])


def warp(picture: Picture, matrix: NDArray[np.float64], size: int) -> Picture:
    """(size, size, 3): the picture moved by `matrix`, (2, 3), bilinear; black where it has nothing.

    ValueError when the matrix can't be turned round (a scale of nought, or NaN).
    """
    from PIL import Image

    if not (np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:, :2])) > 0):
        raise ValueError(f"no way back through the transform {matrix.tolist()}")
    back = np.linalg.inv(matrix[:, :2])
    shift = -back @ matrix[:, 2]
    shift = (
        shift + 0.5 - back.sum(axis=1) * 0.5
    )  # Pillow has the centre of the first pixel at (0.5, 0.5)
    coefficients = np.column_stack([back, shift]).ravel().tolist()
    moved = Image.fromarray(picture).transform(
        (size, size), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def align(picture: Picture, landmarks: Points, size: int = TEMPLATE_SIZE) -> Picture | None:
    """(size, size, 3) face with its `landmarks`, (5, 2), where the template has them; None when
    they fall together."""
    matrix = similarity(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))
    try:
        return warp(picture, matrix, size)
    except ValueError:
        return None
