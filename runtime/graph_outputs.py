"""Checks what a backend gives for a graph, before compiled code reads it: whatever runs the graphs
stands behind this.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pcsr.bundle import Bundle
from pcsr.errors import BundleError

KEPT_SIZES = 1024
INFINITE = "the network gives NaN or infinite values for this image; its weights may be damaged"


class GraphOutputs:
    """What the graphs of one set of a bundle have to give. Several threads may ask at once."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        self._bundle, self._precision = bundle, precision
        self._graphs = bundle.graphs(precision)
        self._role = bundle.image_role
        self._types = {each.name: each.dtype for each in self._graphs[self._role].outputs}
        self._lock = threading.Lock()
        self._sizes: dict[tuple[int, int], Mapping[str, tuple[int, ...]]] = {}

    def foresee(self, size: tuple[int, int]) -> Mapping[str, tuple[int, ...]]:
        """Gives the shapes by name that an image of (height, width) has to lead to.

        Raises:
            BundleError: the graph gives others, or takes more memory or work than it may.
        """
        found = self._sizes.get(size)
        if found is None:
            found = self._bundle.image_outputs(self._precision, size)
            with self._lock:
                if len(self._sizes) >= KEPT_SIZES:
                    self._sizes.clear()
                self._sizes[size] = found
        return found

    def check_image(
        self, size: tuple[int, int], names: Sequence[str], values: Sequence[Any]
    ) -> None:
        """Checks the named outputs for an image of (height, width), arrays or tensors.

        Raises:
            BundleError: one is missing, or has another shape or type than the manifest says.
        """
        role, types, expected = self._role, self._types, self.foresee(size)
        if len(values) != len(names):
            raise BundleError(f"{self._bundle.path}: {role} gives {len(values)} outputs")
        for name, value in zip(names, values, strict=True):
            self._check(role, name, value, types[name], expected[name])

    def check_rows(self, role: str, count: int, value: Any, dtype: str | None = None) -> None:  # noqa: ANN401
        """Checks what a graph of rows gives for `count` of them. dtype: None, as in the manifest.

        Raises:
            BundleError: as `check_image`.
        """
        output = self._graphs[role].outputs[0]
        shape = (count, output.shape[-1])
        self._check(role, output.name, value, dtype or output.dtype, shape)

    def _check(self, role: str, name: str, value: Any, dtype: str, shape: tuple[Any, ...]) -> None:  # noqa: ANN401
        if type(value) is np.ndarray and value.shape == shape and value.dtype == dtype:
            return
        found_dtype = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        found_shape = tuple(getattr(value, "shape", ()))
        if found_shape != shape or found_dtype != dtype:
            raise BundleError(
                f"{self._bundle.path}: {name} of the {role} graph is {found_dtype} "
                f"{list(found_shape)} instead of {dtype} {list(shape)}; export the bundle again"
            )
