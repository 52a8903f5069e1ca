"""Images on a device: gray, alpha, and colours under transparent pixels, as on the CPU."""

from typing import Any

import numpy as np
import pytest

from pcsr.runtime.cpu import alpha as on_the_cpu

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("size", [(1, 2), (17, 30), (64, 33)])
def test_the_same_as_on_the_cpu(size: tuple[int, int], channels: int, dtype: str) -> None:
    from pcsr.runtime.gpu.images import Alpha, bleed_colours

    peak = 1 if dtype == "float32" else np.iinfo(dtype).max
    image = np.random.default_rng(2).uniform(0, 1, (*size, channels))
    image[..., -1] = np.maximum(image[..., -1] - 0.6, 0)
    image[0, 0, -1], image[-1, -1, -1] = 1, 0
    given = (image * peak).astype(dtype)
    assert Alpha.of(torch.from_numpy(given)) == Alpha(is_flat=False, hides_some=True)
    found = bleed_colours(torch.from_numpy(given))
    assert str(found.dtype) == f"torch.{dtype}"
    gap = np.abs(found.numpy().astype(float) - on_the_cpu.bleed_colours(given)) / peak
    assert gap.max() <= (1e-6 if dtype == "float32" else 1 / peak)  # rounding of means
    visible = given[..., -1] > 0
    np.testing.assert_array_equal(found.numpy()[visible], given[visible])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_alpha_is_looked_at_once(dtype: str) -> None:
    from pcsr.runtime.gpu.images import Alpha

    image = np.ones((3, 5, 4), dtype)
    for value in (0, 1):
        image[..., 3] = value
        assert Alpha.of(torch.from_numpy(image)) == Alpha(is_flat=True, hides_some=False)
    image[0, 0, 3] = 7
    assert Alpha.of(torch.from_numpy(image)) == Alpha(is_flat=False, hides_some=False)
    image[2, 4, 3] = 0
    assert Alpha.of(torch.from_numpy(image)) == Alpha(is_flat=False, hides_some=True)


def test_gray_and_bleeding_copy_nothing_from_the_host_and_wait_for_nothing() -> None:
    """A tensor on the device `meta` has no values: what would read them raises."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from pcsr.runtime.gpu.images import bleed_colours, from_gray, layout_of

    class OnDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
            tensors = [value for value in args if isinstance(value, torch.Tensor)]
            assert all(value.is_meta for value in tensors), func
            return func(*args, **(kwargs or {}))

    rgb, luma = torch.empty(4, 6, 3, device="meta"), torch.empty(3, device="meta")
    gray = torch.empty(2, 3, 2, dtype=torch.uint8, device="meta")
    layout = layout_of(gray)
    with OnDevice():  # type: ignore[no-untyped-call]
        assert from_gray(rgb, luma, layout).shape == (4, 6, 1)
        assert bleed_colours(gray).shape == gray.shape
