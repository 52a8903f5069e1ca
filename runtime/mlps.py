"""The folded MLPs of a bundle (`mlps.npz`): classifier and upsamplers as plain arrays, for hosts
with kernels of their own.
"""

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.manifest import classifier_outputs

from .geometry.grid import Floats


@dataclass(frozen=True)
class Mlp:
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

    @classmethod
    def of(cls, arrays: Mapping[str, Floats]) -> "Mlp":
        """Makes it from arrays of a bundle's mlps.npz, without the role in their names."""
        parts, widths = [np.zeros(0, np.float32)], [len(arrays["bias"])]
        while (weight := arrays.get(f"weight_{len(widths)}")) is not None:
            if weight.shape[1] != widths[-1]:
                raise ValueError(f"a layer of {weight.shape[1]} inputs behind {widths[-1]} outputs")
            parts += [weight.ravel(), arrays[f"bias_{len(widths)}"]]
            widths.append(weight.shape[0])
        names = [field.name for field in fields(cls)][1:-1]
        first = {name: np.ascontiguousarray(arrays[name], dtype=np.float32) for name in names}
        rest = np.concatenate(parts, dtype=np.float32)
        return cls(np.array(widths, np.int32), **first, rest=rest)

    def layers(self) -> Iterator[tuple[Floats, Floats]]:
        """Yields (weight [outputs, inputs], bias [outputs]) of each layer behind the first."""
        start = 0
        for inputs, outputs in itertools.pairwise(self.widths.tolist()):
            end = start + inputs * outputs
            yield self.rest[start:end].reshape(outputs, inputs), self.rest[end : end + outputs]
            start = end + outputs

    @property
    def outputs(self) -> int:
        """Number of values per pixel."""
        return int(self.widths[-1])


def load_mlps(bundle: Bundle) -> dict[str, Mlp]:
    """Reads the MLPs of a PCSR bundle, as `read_mlps` does.

    Raises:
        BundleError: they are missing, damaged, or do not fit the bundle's network.
    """
    try:
        return read_mlps(bundle.mlp_bytes(), bundle.manifest.model.feature_width, bundle.upsamplers)
    except ValueError as error:
        raise BundleError(
            f"{bundle.path}: the weights of the upsamplers cannot be read ({error}); export "
            "the bundle again"
        ) from error


def read_mlps(data: bytes, depth: int, upsamplers: int) -> dict[str, Mlp]:
    """Reads the MLPs of an mlps.npz by role: the classifier (M > 1), then from heavy to light.

    Args:
        depth: D of the features.
        upsamplers: M.

    Raises:
        ValueError: it is damaged, or does not fit such a network.
    """
    roles = {f"upsampler_{j}": 3 for j in range(upsamplers)}
    if upsamplers > 1:
        roles = {"classifier": classifier_outputs(upsamplers)} | roles
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (BadZipFile, EOFError, OSError, TypeError, AttributeError) as error:
        raise ValueError(f"not an npz file: {error}") from error
    found = {name.partition(".")[0] for name in arrays}
    if found != set(roles):
        raise ValueError(f"expected {', '.join(roles)}, found {', '.join(sorted(found)) or 'none'}")
    return {role: _mlp(role, arrays, depth, outputs) for role, outputs in roles.items()}


def _mlp(role: str, arrays: Mapping[str, NDArray[Any]], depth: int, outputs: int) -> Mlp:
    own = {
        name.partition(".")[2]: array
        for name, array in arrays.items()
        if name.startswith(f"{role}.")
    }
    try:
        mlp = Mlp.of(own)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{role}: {error!r}") from error
    width = int(mlp.widths[0])
    expected = {
        "feature_weight": (width, depth),
        "row_weight": (width,),
        "column_weight": (width,),
        "cell_weight": (width, 2),
        "bias": (width,),
    }
    layers = itertools.pairwise(mlp.widths.tolist())
    numbers = sum((inputs + 1) * results for inputs, results in layers)
    fits = all(getattr(mlp, name).shape == shape for name, shape in expected.items())
    if not fits or mlp.rest.shape != (numbers,) or mlp.outputs != outputs:
        raise ValueError(f"{role}: its shapes do not fit {depth} features and {outputs} outputs")
    if not all(np.isfinite(getattr(mlp, name)).all() for name in (*expected, "rest")):
        raise ValueError(f"{role}: it holds NaN or infinite values")
    return mlp
