"""`out=`: the image is written into an array of the caller's."""

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pcsr import Upscaler, UsageError

SIZE, HR_SIZE = (19, 23), (38, 46)


def picture(*shape: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    values = np.random.default_rng((seed, *shape)).random(shape)
    return (values * {"uint8": 255, "uint16": 65535}.get(dtype, 1)).astype(dtype)


@pytest.fixture(scope="module", params=["native", "onnxruntime", "torch"])
def upscaler(carn_like_bundle: Path, request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(carn_like_bundle, backend=request.param, threads=2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)], ids=str)
def test_the_image_is_written_there(
    upscaler: Upscaler, channels: tuple[int, ...], dtype: str
) -> None:
    image = picture(*SIZE, *channels, dtype="uint16" if dtype == ">u2" else dtype).astype(dtype)
    expected = upscaler(image, 2, adaptive=True)
    out = np.zeros_like(expected.image)
    found = upscaler(image, 2, adaptive=True, out=out)
    assert found.image is out
    assert np.array_equal(out, expected.image)
    for name in ("assignment", "difficulty"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    assert np.array_equal(pickle.loads(pickle.dumps(found)).image, out)


def test_a_batch_is_written_there(upscaler: Upscaler) -> None:
    images, out = picture(4, *SIZE, 3), np.empty((4, *HR_SIZE, 3), np.uint8)
    found = upscaler(images, 2, out=out)
    assert found.image is out
    assert np.array_equal(out, upscaler(images, 2).image)


def test_part_of_a_larger_array_and_tensors(upscaler: Upscaler, tmp_path: Path) -> None:
    image, frames = picture(*SIZE, 3), np.zeros((3, *HR_SIZE, 3), np.uint8)
    expected = upscaler(image, 2).image
    upscaler(image, 2, out=frames[1])
    assert np.array_equal(frames[1], expected)
    assert not frames[[0, 2]].any()
    tensor = torch.empty((*HR_SIZE, 3), dtype=torch.uint8)
    found: Any = upscaler(torch.from_numpy(image), 2, out=tensor).image
    assert found is tensor
    assert np.array_equal(tensor.numpy(), expected)
    mapped = np.memmap(tmp_path / "a", np.uint8, "w+", shape=(*HR_SIZE, 3))
    assert upscaler(image, 2, out=mapped).image is mapped
    assert np.array_equal(mapped, expected)


def test_what_does_not_fit_is_refused(upscaler: Upscaler) -> None:
    image = picture(*SIZE, 3)
    right = np.zeros((*HR_SIZE, 3), np.uint8)
    frozen, wide = right.copy(), np.zeros((38, 92, 3), np.uint8)
    frozen.flags.writeable = False
    expected = r"out must be an array \[38, 46, 3\] of uint8, C-contiguous and writable, found "
    for wrong, found in (
        (right[:-1], r"\[37, 46, 3\] of uint8"),
        (right.astype(np.float32), r"\[38, 46, 3\] of float32"),
        (wide[:, ::2], "one with gaps or turned axes"),
        (frozen, "one that is read-only"),
        (right.tolist(), "a list"),
        (np.ma.masked_equal(right, 0), "a MaskedArray"),
        (bytearray(38 * 46 * 3), "a bytearray"),
    ):
        with pytest.raises(UsageError, match=expected + found):
            upscaler(image, 2, out=wrong)
    assert not right.any()


def test_the_memory_of_the_image_is_refused(upscaler: Upscaler) -> None:
    memory = np.zeros(38 * 46 * 3 + 10, np.uint8)
    out = memory[:-10].reshape(*HR_SIZE, 3)
    with pytest.raises(UsageError, match="must not lie in the memory of the image"):
        upscaler(memory[10 : 10 + 19 * 23 * 3].reshape(*SIZE, 3), 2, out=out)
    with pytest.raises(UsageError, match="must not lie in the memory of the image"):
        upscaler(torch.from_numpy(out[:19, :23]), 2, out=out)


def test_threads_at_once_have_arrays_of_their_own(carn_like_bundle: Path) -> None:
    pictures = [picture(*SIZE, 3, seed=seed) for seed in range(3)]
    with Upscaler(carn_like_bundle, threads=2) as upscaler:
        expected = [upscaler(image, 2, adaptive=True) for image in pictures]
        wrong = list[int]()

        def work(index: int) -> None:
            out = np.empty((*HR_SIZE, 3), np.uint8)
            for _ in range(40):
                found = upscaler(pictures[index], 2, adaptive=True, out=out)
                for name in ("image", "assignment", "difficulty"):
                    if not np.array_equal(getattr(found, name), getattr(expected[index], name)):
                        wrong.append(index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
