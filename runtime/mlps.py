"""The folded MLPs of a bundle (`mlps.npz`): classifier and upsamplers as plain arrays, for hosts
with kernels of their own.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.manifest import Upsampler, classifier_outputs
from pcsr.reading.npz import Headers

from .geometry.grid import Floats

FIRST = ("feature_weight", "row_weight", "column_weight", "cell_weight", "bias")
NEAREST = Upsampler((), 1, "bilinear")


@dataclass(frozen=True)
class MlpWeights:
    """A folded MLP: the parts of its first layer, and all layers that follow in one array."""

    widths: NDArray[np.int32]
    """C, the width of the first layer, then the outputs of each layer behind it."""
    feature_weight: Floats
    """[C, D]."""
    row_weight: Floats
    """[C]."""
    column_weight: Floats
    """[C]."""
    cell_weight: Floats
    """[C, 2]."""
    bias: Floats
    """[C]."""
    rest: Floats
    """The layers behind the first, one after another: weight [outputs, inputs], bias [outputs]."""
    neighbours: Literal[1, 4] = 1
    """How many of the nearest input pixels it is evaluated at."""
    base: Literal["bilinear", "none"] = "bilinear"
    """What an upsampler's result is added to."""

    @classmethod
    def of(cls, arrays: Mapping[str, Floats], upsampler: Upsampler | None = None) -> "MlpWeights":
        """Makes it from arrays of a bundle's mlps.npz, without the role in their names.

        upsampler: how it is evaluated; None is a classifier's way, at the nearest input pixel.
        """
        parts, widths = [np.zeros(0, np.float32)], [len(arrays["bias"])]
        while (weight := arrays.get(f"weight_{len(widths)}")) is not None:
            parts += [weight.ravel(), arrays[f"bias_{len(widths)}"]]
            widths.append(weight.shape[0])
        first = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in FIRST}
        rest = np.concatenate(parts, dtype=np.float32)
        way = upsampler or NEAREST
        return cls(
            np.array(widths, np.int32), **first, rest=rest, neighbours=way.neighbours, base=way.base
        )

    def layers(self) -> Iterator[tuple[Floats, Floats]]:
        """Yields (weight [outputs, inputs], bias [outputs]) of each layer behind the first."""
        start = 0
        for inputs, outputs in itertools.pairwise(self.widths.tolist()):
            end = start + inputs * outputs
            yield self.rest[start:end].reshape(outputs, inputs), self.rest[end : end + outputs]
            start = end + outputs

    @cached_property
    def feature_pairs(self) -> NDArray[np.uint32]:
        """`feature_weight` in bfloat16, [C, (D + 1) // 2] in one row: that of an even input in the
        lower half, 0 beside an odd last one.
        """
        return _packed(self.feature_weight)

    @cached_property
    def pairs(self) -> NDArray[np.uint32]:
        """`rest` with its weights as in `feature_pairs`; biases are their own bits."""
        parts = [np.zeros(0, np.uint32)]
        for weight, bias in self.layers():
            parts += [_packed(weight), np.ascontiguousarray(bias).view(np.uint32)]
        return np.concatenate(parts)

    @property
    def outputs(self) -> int:
        """Number of values per pixel."""
        return int(self.widths[-1])


def _packed(weight: Floats) -> NDArray[np.uint32]:
    """Packs finite weights [outputs, inputs], rounded to bfloat16 (ties to even), in pairs."""
    outputs, inputs = weight.shape
    padded = np.zeros((outputs, inputs + inputs % 2), np.float32)
    padded[:, :inputs] = weight
    bits = padded.view(np.uint32)
    halves = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    pairs: NDArray[np.uint32] = (halves[:, ::2] | halves[:, 1::2] << np.uint32(16)).ravel()
    return pairs


def load_mlps(bundle: Bundle) -> dict[str, MlpWeights]:
    """Reads the MLPs of a PCSR bundle by role: the classifier (M > 1), then from heavy to light.

    Raises:
        BundleError: they are missing, damaged, or do not fit the bundle's network.
    """
    model, count = bundle.manifest.model, bundle.upsamplers
    hidden = {"classifier": model.classifier_widths or ()} if count > 1 else {}
    hidden |= {f"upsampler_{j}": model.upsamplers[j].widths for j in range(count)}
    outputs = {"classifier": classifier_outputs(count)}
    expected = {
        f"{role}.{name}": shape
        for role, widths in hidden.items()
        for name, shape in _shapes(model.feature_width, (*widths, outputs.get(role, 3))).items()
    }

    def check(headers: Headers) -> None:
        if missing := sorted(expected.keys() ^ headers.keys()):
            raise ValueError(f"expected the weights of {', '.join(hidden)}: {missing[0]}")
        for name, header in headers.items():
            if header.dtype != np.float32 or header.shape != expected[name]:
                raise ValueError(
                    f"{name}: expected float32 of {expected[name]}, found {header.dtype} of "
                    f"{header.shape}"
                )

    arrays: dict[str, dict[str, Floats]] = defaultdict(dict)
    for name, values in bundle.mlp_arrays(check).items():
        role, _, part = name.partition(".")
        if not np.isfinite(values).all():
            raise BundleError(
                f"{bundle.path}: the weights of the upsamplers cannot be read ({name} holds NaN or "
                "infinite values); export the bundle again"
            )
        arrays[role][part] = values
    ways = {f"upsampler_{j}": upsampler for j, upsampler in enumerate(model.upsamplers)}
    return {role: MlpWeights.of(arrays[role], ways.get(role)) for role in hidden}


def _shapes(depth: int, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Gives the shapes of an MLP's arrays by their names. widths: hidden ones, then the outputs."""
    first = widths[0]
    shapes: dict[str, tuple[int, ...]] = {
        "feature_weight": (first, depth),
        "row_weight": (first,),
        "column_weight": (first,),
        "cell_weight": (first, 2),
        "bias": (first,),
    }
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        shapes |= {f"weight_{index}": (outputs, inputs), f"bias_{index}": (outputs,)}
    return shapes
