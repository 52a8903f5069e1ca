"""What a caller's thread has set in PyTorch changes no result, and nothing of it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import ImageError, Upscaler
from pcsr.bundle import Bundle
from pcsr.runtime.result import Result
from pcsr.runtime.torch_backend.module import OnnxModule
from tests.runtime.hosts import HOSTS, Host

SIZE = (13, 15)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


def pictures() -> list[NDArray[Any]]:
    random = np.random.default_rng(5)
    made = [random.integers(0, 256, (*SIZE, n), dtype=np.uint8) for n in (3, 4, 1)]
    return [*made, random.random((*SIZE, 3), dtype=np.float32)]


def called(upscaler: Upscaler) -> list[NDArray[Any]]:
    """Gives the arrays of some calls, and their statistics."""
    found: list[Any] = []
    modes: list[dict[str, Any]] = [{}]
    if upscaler.bundle.upsamplers > 1:
        modes = [{"k": 0.5}, {"adaptive": True}, {"heavy_ratio": 0.3}]
    for mode in modes:
        for image in pictures():
            result = upscaler(image, 3, **mode) if modes[1:] else upscaler(image)
            found += [result.image, result.assignment, result.difficulty]
            found += [result.stats.pixels_per_upsampler, result.stats.threshold]
        rows: list[NDArray[Any]] = []
        upscaler.stream(pictures()[2], rows.append, **mode)
        found.append(np.concatenate(rows))
    upscaler.warmup(SIZE)
    return found


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["carn_like_bundle", "three_way_bundle", "plain_bundle"])
def test_results_are_the_same_bits_whatever_the_host_has_set(
    name: str, host: Host, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(name)
    expected = called(Upscaler(bundle, backend="torch"))
    with host():
        inside = Upscaler(bundle, backend="torch")
        assert_equal(called(inside), expected)
    assert_equal(called(inside), expected)
    outside = Upscaler(bundle, backend="torch")
    assert_equal(called(outside), expected)
    with host():
        assert_equal(called(outside), expected)
    outside.forget_shapes()
    assert_equal(called(outside), expected)


@pytest.mark.parametrize("name", ["carn_like_bundle", "plain_bundle"])
@pytest.mark.parametrize("backend", ["torch", "native"])
def test_tensors_of_inference_mode_are_taken_and_results_may_be_written(
    name: str, backend: str, request: pytest.FixtureRequest
) -> None:
    upscaler = Upscaler(request.getfixturevalue(name), backend=backend)
    image = pictures()[0]
    expected = upscaler(image).image
    with torch.inference_mode():
        given = torch.from_numpy(image).clone()
        assert given.is_inference()
        inside = upscaler(given)
    for result in (inside, upscaler(given)):
        found: Any = result.image
        np.testing.assert_array_equal(found.numpy(), expected)
        found.add_(1)
        assert not found.is_inference()


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_tensors_that_require_a_gradient_are_one_line(carn_like_bundle: Path, backend: str) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend)
    leaf = torch.rand(*SIZE, 3, requires_grad=True)
    for given in (leaf, leaf * 1, torch.nn.Parameter(leaf.detach())):
        with pytest.raises(ImageError, match=r"requires one; pass image\.detach\(\)$"):
            upscaler(given)
    plain = torch.nn.Parameter(leaf.detach(), requires_grad=False)
    found: Result = upscaler(plain)
    np.testing.assert_array_equal(found.image, upscaler(leaf.detach()).image)


def test_what_takes_rows_runs_under_its_own_settings(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, backend="torch")
    seen: list[Any] = []

    def take(_: NDArray[Any]) -> None:
        kinds = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        seen.append((*kinds, torch.empty(1).device.type, precision()))

    def precision() -> str:
        found: str = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
        return found

    before = precision()
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        upscaler.stream(pictures()[0], take)
    upscaler.stream(pictures()[0], take)
    assert seen == [(True, True, "meta", before), (False, True, "cpu", before)]


def test_graphs_are_the_same_bits_whatever_the_host_has_set(plain_bundle: Path, host: Host) -> None:
    bundle = Bundle.load(plain_bundle)
    data, x = bundle.graph_bytes(bundle.image_role, "fp32"), torch.rand(1, 3, *SIZE)
    (expected,) = OnnxModule(data)(x)
    outside = OnnxModule(data)
    with host():
        found = [*OnnxModule(data)(x), *outside(x)]
    for value in found:
        assert not value.is_inference()
        assert not value.requires_grad
        assert value.equal(expected)
