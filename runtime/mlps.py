"""The folded MLPs of a bundle (`mlps.npz`): classifier and upsamplers as plain arrays, for hosts
with kernels of their own.
"""

import io
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.manifest import classifier_outputs
from pcsr.vectors import DAMAGES

from .geometry.grid import Floats


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

    @classmethod
    def of(cls, arrays: Mapping[str, Floats]) -> "MlpWeights":
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


def load_mlps(bundle: Bundle) -> dict[str, MlpWeights]:
    """Reads the MLPs of a PCSR bundle by role: the classifier (M > 1), then from heavy to light.

    Raises:
        BundleError: they are missing, damaged, or do not fit the bundle's network.
    """
    data, count, depth = bundle.mlp_bytes(), bundle.upsamplers, bundle.manifest.model.feature_width
    roles = {"classifier": classifier_outputs(count)} if count > 1 else {}
    roles |= {f"upsampler_{j}": 3 for j in range(count)}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays: dict[str, dict[str, Floats]] = defaultdict(dict)
            for name in file.files:
                role, _, part = name.partition(".")
                arrays[role][part] = file[name]
        if arrays.keys() != roles.keys():
            raise ValueError(f"expected {', '.join(roles)}, found {', '.join(sorted(arrays))}")
        return {role: _mlp(role, arrays[role], depth, roles[role]) for role in roles}
    except (*DAMAGES, IndexError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise BundleError(
            f"{bundle.path}: the weights of the upsamplers cannot be read ({reason}); "
            "export the bundle again"
        ) from error


def _mlp(role: str, arrays: Mapping[str, Floats], depth: int, outputs: int) -> MlpWeights:
    mlp = MlpWeights.of(arrays)
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
