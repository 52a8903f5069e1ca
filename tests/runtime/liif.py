"""LIIF in NumPy, as its paper (arXiv 2012.09161, section 3) and its published order of float32
operations say. It shares no code with models/ or the runtime.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Size = tuple[int, int]
Layers = Sequence[tuple[Doubles, Doubles]]
f32 = np.float32


@dataclass(frozen=True)
class Corner:
    """One of the latent codes around each output pixel."""

    rows: NDArray[np.int64]
    """[H, 1], of the input pixel."""
    columns: NDArray[np.int64]
    """[1, W]."""
    offset: Floats
    """[2, H, W], from its centre to the output pixel's, in input pixels times 2."""


def centres(n: int) -> Floats:
    """The centres of n pixels that span [-1, 1]."""
    values = f32(-1 + 1 / n) + f32(2 / n) * np.arange(n, dtype=f32)
    return values.astype(f32)


def nearest(coordinates: Floats, n: int) -> NDArray[np.int64]:
    """The pixels of n whose centres are nearest to coordinates; ties to even, as torch has it."""
    position = (((coordinates + f32(1)).astype(np.float64) * n - 1) / 2).astype(f32)
    return np.clip(np.rint(position), 0, n - 1).astype(np.int64)


def corners(lr_size: Size, hr_size: Size, ensemble: bool = True) -> list[Corner]:
    """Four per output pixel, each half an input pixel away; one, the nearest, without ensemble."""
    shifts = [(0.0, 0.0)]
    if ensemble:
        shifts = [*itertools.product((-1.0, 1.0), (-1.0, 1.0))]
    return [Corner(*_corner(lr_size, hr_size, shift, 1e-6 if ensemble else 0)) for shift in shifts]


def _corner(
    lr_size: Size, hr_size: Size, shift: tuple[float, float], more: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    places, offsets = [], []
    for n, m, side in zip(lr_size, hr_size, shift, strict=True):
        at = centres(m) + f32(side / n + more)
        if more:
            at = np.clip(at, f32(-1 + 1e-6), f32(1 - 1e-6))
        places.append(nearest(at, n))
        offsets.append((centres(m) - centres(n)[places[-1]]) * f32(n))
    offset = np.stack(np.broadcast_arrays(offsets[0][:, None], offsets[1]))
    return places[0][:, None], places[1][None], offset


def weights(around: Sequence[Corner]) -> Iterator[Floats]:
    """The weight [H, W] of each corner: the area of the rectangle to the diagonally opposite one,
    over the sum of all areas.
    """
    if len(around) == 1:
        return iter([np.ones(around[0].offset.shape[1:], f32)])
    areas = [np.abs(at.offset[0] * at.offset[1]) + f32(1e-9) for at in around]
    total = areas[0] + areas[1] + areas[2] + areas[3]
    return (area / total for area in reversed(areas))


def unfolded(features: Doubles) -> Doubles:
    """The 3x3 features around each pixel, zeros outside: [D, h, w] -> [9 D, h, w], D slowest."""
    depth, height, width = features.shape
    padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
    shifts = itertools.product(range(3), range(3))
    windows = [padded[:, y : y + height, x : x + width] for y, x in shifts]
    return np.stack(windows, axis=1).reshape(9 * depth, height, width)


def mlp(layers: Layers, x: Doubles) -> Doubles:
    """[inputs, ...] -> [outputs, ...], ReLU between layers."""
    for index, (weight, bias) in enumerate(layers):
        x = np.tensordot(weight, np.maximum(x, 0) if index else x, 1)
        x = x + bias.reshape(-1, *[1] * (x.ndim - 1))
    return x


def liif(
    features: Doubles,
    layers: Layers,
    hr_size: Size,
    ensemble: bool = True,
    unfold: bool = True,
    cell: bool = True,
) -> Doubles:
    """Colours [H, W, 3] from features [D, h, w]."""
    lr_size = (features.shape[1], features.shape[2])
    latent = unfolded(features) if unfold else features
    around = corners(lr_size, hr_size, ensemble)
    size = [f32(2 / m) * f32(n) for n, m in zip(lr_size, hr_size, strict=True)] if cell else []
    constant = np.array(size, dtype=np.float64)[:, None, None] * np.ones(hr_size)
    out = np.zeros((3, *hr_size))
    for at, weight in zip(around, weights(around), strict=True):
        x = np.concatenate(
            [latent[:, at.rows, at.columns], at.offset, constant.reshape(-1, *hr_size)]
        )
        out += mlp(layers, x) * weight
    return out.transpose(1, 2, 0)


def convolved(image: Doubles, weight: Doubles, bias: Doubles) -> Doubles:
    """A 3x3 convolution with zero padding."""
    windows = unfolded(image)
    flat = weight.reshape(len(weight), -1) @ windows.reshape(len(windows), -1)
    return (flat + bias[:, None]).reshape(-1, *image.shape[1:])


def edsr(state: Mapping[str, NDArray[np.generic]], image: Doubles) -> Doubles:
    """The features of EDSR's encoder (its body without upsampling, residuals added whole), by the
    names of the published checkpoint. image: [3, h, w], normalised.
    """

    def layer(name: str, x: Doubles) -> Doubles:
        weight, bias = (state[f"encoder.{name}.{what}"] for what in ("weight", "bias"))
        return convolved(x, weight.astype(np.float64), bias.astype(np.float64))

    head = x = layer("head.0", image)
    depth = 0
    while f"encoder.body.{depth}.body.0.weight" in state:
        x = x + layer(f"body.{depth}.body.2", np.maximum(layer(f"body.{depth}.body.0", x), 0))
        depth += 1
    return head + layer(f"body.{depth}", x)


def imnet(state: Mapping[str, NDArray[np.generic]]) -> Layers:
    """The layers of the MLP in a published checkpoint."""
    names = [name for name in state if name.startswith("imnet.") and name.endswith("weight")]
    names.sort(key=lambda name: int(name.split(".")[-2]))
    pairs = [(state[name], state[name.replace("weight", "bias")]) for name in names]
    return [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in pairs]


def upscaled(
    state: Mapping[str, NDArray[np.generic]], image: Floats, hr_size: Size, **options: bool
) -> Doubles:
    """The image [H, W, 3] of a published EDSR-LIIF checkpoint, which normalises by 0.5 and 0.5.
    image: [h, w, 3] in [0, 1].
    """
    normalised = (image.astype(np.float64).transpose(2, 0, 1) - 0.5) / 0.5
    return liif(edsr(state, normalised), imnet(state), hr_size, **options) * 0.5 + 0.5
