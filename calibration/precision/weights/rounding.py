"""Rounds weights so that what a layer makes, rather than each weight, stays as it is.

The weights of a row are rounded one after the other, those of the liveliest inputs first, and the
ones to come make up for each error as far as their inputs vary together (Frantar et al., GPTQ, ICLR
2023, arXiv 2210.17323). What is left of the error's mean goes into the bias.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .moments import Moments

Floats = NDArray[np.float64]
Grid = Callable[[Floats], Floats]
"""The nearest numbers that a weight can be, in units of its step."""
Round = Callable[[str, NDArray[Any], Floats, Floats], tuple[Floats, Floats]]
"""What `Rounding` and `nearest` are when called."""
DAMPING = 0.01  # of the mean variance: inputs that hardly vary cannot take up errors


def nearest_int8(values: Floats) -> Floats:
    """Rounds to whole numbers from -127 to 127."""
    return np.clip(np.rint(values), -127, 127)


def nearest(
    _name: str, weight: NDArray[Any], steps: Floats, _factors: Floats, grid: Grid = nearest_int8
) -> tuple[Floats, Floats]:
    """Rounds each weight by itself; takes and returns what `Rounding` does."""
    return grid(weight / steps[:, None, None, None]), np.zeros(len(steps))


@dataclass(frozen=True)
class Rounding:
    """Rounds the weights of a model's convolutions, each once for each scaling of its inputs."""

    moments: Mapping[str, Moments]
    """By the name of the convolution."""
    grid: Grid = nearest_int8
    _known: dict[tuple[str, bytes], tuple[Floats, Floats]] = field(default_factory=dict)

    def __call__(
        self, name: str, weight: NDArray[Any], steps: Floats, factors: Floats
    ) -> tuple[Floats, Floats]:
        """Returns the weights in units of their steps, and the mean of what is to be added to each
        output for the errors left.

        weight: [outputs, inputs of a group, kh, kw], of inputs that are divided by `factors`
        [inputs]. steps: [outputs].
        """
        key = (name, factors.tobytes())
        if key not in self._known:
            self._known[key] = self._rounded(self.moments[name], weight, steps, factors)
        return self._known[key]

    def _rounded(
        self, moments: Moments, weight: NDArray[Any], steps: Floats, factors: Floats
    ) -> tuple[Floats, Floats]:
        count = len(moments.mean)
        rows = weight.astype(np.float64).reshape(count, len(weight) // count, -1)
        each = np.repeat(factors.reshape(count, -1), weight[0, 0].size, axis=1)
        units = [
            rounded_rows(row / step[:, None], variance / np.outer(factor, factor), self.grid)
            for row, step, variance, factor in zip(
                rows, steps.reshape(count, -1), moments.covariance, each, strict=True
            )
        ]
        whole = np.stack(units)
        errors = rows - whole * steps.reshape(count, -1, 1)
        shift = (errors * (moments.mean / each)[:, None, :]).sum(axis=2)
        return whole.reshape(weight.shape), shift.ravel()


def rounded_rows(rows: Floats, covariance: Floats, grid: Grid = nearest_int8) -> Floats:
    """Rounds weights [outputs, n] of inputs with this covariance [n, n], in units of their steps.

    Example:
        >>> alike = np.ones((2, 2))  # both inputs are always the same: their sum must stay
        >>> rounded_rows(np.array([[1.4, 1.4]]), alike).tolist()
        [[1.0, 2.0]]
    """
    order = np.argsort(-np.diag(covariance), kind="stable")
    variances = np.diag(covariance).mean() * DAMPING + 1e-12
    damped = covariance[np.ix_(order, order)] + variances * np.eye(len(order))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, rounded = rows[:, order], np.empty_like(rows)
    for i, place in enumerate(order):
        rounded[:, place] = grid(left[:, i])
        error = (left[:, i] - rounded[:, place]) / upper[i, i]
        left[:, i + 1 :] -= np.outer(error, upper[i, i + 1 :])
    return rounded
