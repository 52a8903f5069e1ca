"""What a backend gives for a graph is checked in one place, before compiled code reads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.cpu.checked_runner import CheckedRunner
from pcsr.runtime.gpu.runners.checked import CheckedDeviceRunner
from pcsr.runtime.gpu.runners.protocol import DeviceRunner
from pcsr.runtime.graph_outputs import KEPT_SIZES, GraphOutputs


class Liar:
    """A runner that gives what it is told to."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def run_image(self, *_: object) -> list[Any]:
        return self.values

    def run_rows(self, role: str, inputs: object) -> Any:  # noqa: ANN401
        return self.values[0]


LIES: dict[str, list[Any]] = {
    "depth": [np.zeros((1, 9, 16, 12), np.float32)],
    "rank": [np.zeros((8, 16, 12), np.float32)],
    "type": [np.zeros((1, 8, 16, 12), np.uint8)],
    "list": [[0.0]],
    "none": [None],
    "nothing": [],
    "two": [np.zeros((1, 8, 16, 12), np.float32)] * 2,
}


@pytest.mark.parametrize("case", LIES)
def test_whatever_a_backend_gives_is_checked(case: str, carn_like_bundle: Path) -> None:
    runner = CheckedRunner(Liar(LIES[case]), Bundle.load(carn_like_bundle), "fp32")
    with pytest.raises(BundleError, match="backbone"):
        runner.run_image("backbone", np.zeros((1, 3, 16, 12), np.float32), ("features",))


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (5,), ()])
def test_rows_are_checked(shape: tuple[int, ...], carn_like_bundle: Path) -> None:
    values = np.zeros(shape, np.float32)
    runner = CheckedRunner(Liar([values]), Bundle.load(carn_like_bundle), "fp32")
    with pytest.raises(BundleError, match="residual of the upsampler_0 graph"):
        runner.run_rows("upsampler_0", {"index": np.zeros(5, np.int32)})


class DeviceLiar(DeviceRunner):
    """The same on a device."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.device = values, torch.device("cpu")
        self.image_least, self.rows_limit = (2, 2), 7

    def image(self, image: torch.Tensor) -> torch.Tensor:
        return self.values

    def rows(self, *_: object) -> torch.Tensor:
        return self.values


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8])
def test_tensors_of_another_type(dtype: torch.dtype, carn_like_bundle: Path) -> None:
    liar = DeviceLiar(torch.zeros(1, 8, 16, 12, dtype=dtype))
    runner = CheckedDeviceRunner(liar, Bundle.load(carn_like_bundle), "fp32")
    with pytest.raises(BundleError, match="features of the backbone graph is"):
        runner.image(torch.zeros(1, 3, 16, 12))


@pytest.mark.parametrize("shape", [(1, 8, 16, 11), (1, 9, 16, 12), (8, 16, 12), (4, 3)])
def test_tensors_of_another_shape(shape: tuple[int, ...], carn_like_bundle: Path) -> None:
    liar = DeviceLiar(torch.zeros(shape))
    runner = CheckedDeviceRunner(liar, Bundle.load(carn_like_bundle), "fp32")
    with pytest.raises(BundleError, match="features of the backbone graph is"):
        runner.image(torch.zeros(1, 3, 16, 12))
    index = torch.zeros(5, dtype=torch.int32)
    with pytest.raises(BundleError, match="residual of the upsampler_0 graph is"):
        runner.rows("upsampler_0", index, index, index, index)


def test_limits_are_those_of_the_runner_behind(carn_like_bundle: Path) -> None:
    runner = CheckedDeviceRunner(DeviceLiar(torch.zeros(0)), Bundle.load(carn_like_bundle), "fp32")
    assert (runner.image_least, runner.rows_limit, runner.image_limit) == ((2, 2), 7, None)


def test_sizes_are_not_kept_for_ever(carn_like_bundle: Path) -> None:
    outputs = GraphOutputs(Bundle.load(carn_like_bundle), "fp32")
    for width in range(1, KEPT_SIZES + 3):
        assert outputs.foresee((1, width))["features"] == (1, 8, 1, width)
    assert len(outputs._sizes) == 2
