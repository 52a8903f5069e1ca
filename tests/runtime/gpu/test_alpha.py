"""Colours under transparent pixels on a device: the same as on the CPU."""

import numpy as np
import pytest

from pcsr.runtime.cpu import alpha as on_the_cpu

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("size", [(1, 2), (17, 30), (64, 33)])
def test_the_same_as_on_the_cpu(size: tuple[int, int], channels: int, dtype: str) -> None:
    from pcsr.runtime.gpu.alpha import bleed_colours

    peak = 1 if dtype == "float32" else np.iinfo(dtype).max
    image = np.random.default_rng(2).uniform(0, 1, (*size, channels))
    image[..., -1] = np.maximum(image[..., -1] - 0.6, 0)
    image[0, 0, -1], image[-1, -1, -1] = 1, 0
    given = (image * peak).astype(dtype)
    found = bleed_colours(torch.from_numpy(given))
    assert str(found.dtype) == f"torch.{dtype}"
    gap = np.abs(found.numpy().astype(float) - on_the_cpu.bleed_colours(given)) / peak
    assert gap.max() <= (1e-6 if dtype == "float32" else 1 / peak)  # rounding of means
    visible = given[..., -1] > 0
    np.testing.assert_array_equal(found.numpy()[visible], given[visible])


def test_images_without_hidden_or_visible_pixels_are_returned_themselves() -> None:
    from pcsr.runtime.gpu.alpha import bleed_colours

    for value in (0, 255):
        image = torch.full((3, 5, 4), value, dtype=torch.uint8)
        assert bleed_colours(image) is image
