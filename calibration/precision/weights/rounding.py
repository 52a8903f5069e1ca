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


@dataclass(frozen=True)
class Storage:
    """Says how what a layer reads and makes is stored."""

    factors: Floats
    """[inputs], what they are divided by."""
    copies: NDArray[np.int64]
    """[inputs], how often each is there: a weight is the mean of that many numbers of the grid."""
    outputs: int = 1
    """How often each output is there, with weights of its own: their mean is nearest."""

    @classmethod
    def plain(cls, inputs: int) -> "Storage":
        """Makes that of a layer whose inputs and outputs are there once, as they are."""
        return cls(np.ones(inputs), np.ones(inputs, np.int64))


Round = Callable[[str, NDArray[Any], Floats, Storage], tuple[Floats, Floats]]
"""What `Rounding` and `nearest` are when called."""
DAMPING = 0.01  # of the mean variance: inputs that hardly vary cannot take up errors


def nearest_int8(values: Floats) -> Floats:
    """Rounds to whole numbers from -127 to 127."""
    return np.clip(np.rint(values), -127, 127)


def nearest(
    _name: str, weight: NDArray[Any], steps: Floats, storage: Storage, grid: Grid = nearest_int8
) -> tuple[Floats, Floats]:
    """Rounds each weight by itself; takes and returns what `Rounding` does."""
    one = grid(weight / steps[:, None, None, None])
    return np.stack([one] * storage.outputs), np.zeros((storage.outputs, len(steps)))


@dataclass(frozen=True)
class Rounding:
    """Rounds the weights of a model's convolutions, each once for each scaling of its inputs."""

    moments: Mapping[str, Moments]
    """By the name of the convolution."""
    grid: Grid = nearest_int8
    _known: dict[tuple[Any, ...], tuple[Floats, Floats]] = field(default_factory=dict)

    def __call__(
        self, name: str, weight: NDArray[Any], steps: Floats, storage: Storage
    ) -> tuple[Floats, Floats]:
        """Returns the weights [copies of outputs, …] in units of their steps, and the mean of what
        is to be added to each output [copies, outputs] for the errors left.

        weight: [outputs, inputs of a group, kh, kw]. steps: [outputs].
        """
        key = (name, storage.factors.tobytes(), storage.copies.tobytes(), storage.outputs)
        if key not in self._known:
            self._known[key] = self._rounded(self.moments[name], weight, steps, storage)
        return self._known[key]

    def _rounded(
        self, moments: Moments, weight: NDArray[Any], steps: Floats, storage: Storage
    ) -> tuple[Floats, Floats]:
        count = len(moments.mean)
        rows = weight.astype(np.float64).reshape(count, len(weight) // count, -1)
        units = rows / steps.reshape(count, -1, 1)
        each, copies = (
            np.repeat(values.reshape(count, -1), weight[0, 0].size, axis=1)
            for values in (storage.factors, storage.copies)
        )
        covariances = moments.covariance / (each[:, :, None] * each[:, None, :])
        whole, left = np.empty((storage.outputs, *units.shape)), np.zeros_like(units)
        for found in whole:  # each makes up for what those before it have left
            left += units
            found[:] = [
                rounded_rows(*group, self.grid)
                for group in zip(left, covariances, copies, strict=True)
            ]
            left -= found
        errors = (units - whole) * steps.reshape(count, -1, 1)
        shift = (errors * (moments.mean / each)[:, None, :]).sum(axis=3)
        copied = storage.outputs, *weight.shape
        return whole.reshape(copied), shift.reshape(copied[:2])


def rounded_rows(
    rows: Floats,
    covariance: Floats,
    copies: NDArray[np.int64] | None = None,
    grid: Grid = nearest_int8,
) -> Floats:
    """Rounds weights [outputs, n] of inputs with this covariance [n, n], in units of their steps.

    copies: [n], as of `Storage`; None stands for one of each.

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
    counts = np.ones(len(order), np.int64) if copies is None else copies
    for i, place in enumerate(order):
        shares = (np.arange(counts[place]) + 0.5) / counts[place] - 0.5
        rounded[:, place] = np.mean([grid(left[:, i] + share) for share in shares], axis=0)
        error = (left[:, i] - rounded[:, place]) / upper[i, i]
        left[:, i + 1 :] -= np.outer(error, upper[i, i + 1 :])
    return rounded
