"""Images on a GPU stay there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr import Upscaler
from pcsr.images import read_bytes
from tests.hosts.tritonserver.stand_in import Loaded, Tensor, load

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
DTYPES = {"IMAGE": torch.uint8, "IMAGE_UINT16": torch.uint16, "IMAGE_FP32": torch.float32}
PEAKS = {"IMAGE": 255, "IMAGE_UINT16": 65535, "IMAGE_FP32": 1}


@pytest.fixture(scope="module")
def loaded(three_way_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("models") / "three"
    found = load(three_way_bundle, folder, kind="GPU", backend="torch", warm_up=((31, 40),))
    yield found
    found.model.finalize()


@pytest.fixture(scope="module")
def upscaler(three_way_bundle: Path) -> Iterator[Upscaler]:
    with Upscaler(three_way_bundle, "cuda:0", "torch") as opened:
        yield opened


def image(name: str) -> torch.Tensor:
    values = np.random.default_rng(1).random((31, 40, 3)) * PEAKS[name]
    return torch.from_numpy(values).to(DTYPES[name]).cuda()


@pytest.mark.parametrize("name", DTYPES)
def test_tensors_come_back_on_the_gpu(name: str, loaded: Loaded, upscaler: Upscaler) -> None:
    given = image(name)
    result = name.replace("IMAGE", "RESULT")
    answer = loaded.answer({name: Tensor.from_dlpack(name, given)}, result, "ROUTING")
    expected: Any = upscaler(given)
    assert answer[result].is_cuda
    assert answer["ROUTING"].is_cuda
    assert torch.equal(answer[result].cpu(), expected.image.cpu())
    assert torch.equal(answer["ROUTING"].cpu(), expected.assignment.cpu())


def test_a_response_is_complete_when_it_is_sent(loaded: Loaded, upscaler: Upscaler) -> None:
    given = image("IMAGE")
    expected = upscaler(given.cpu().numpy()).image
    senders = [
        loaded.send({"IMAGE": Tensor.from_dlpack("IMAGE", given)}, "RESULT") for _ in range(20)
    ]
    for sender in senders:
        (tensor,) = sender.response().output_tensors
        other = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(other):  # the server reads on a stream of its own
            found = tensor.array.to("cpu")
        assert np.array_equal(found.numpy(), expected)


def test_it_is_encoded_on_the_host(loaded: Loaded, upscaler: Upscaler) -> None:
    given = image("IMAGE")
    inputs = {"IMAGE": Tensor.from_dlpack("IMAGE", given)}
    answer = loaded.answer(inputs, "RESULT_ENCODED", "RESULT")
    found = read_bytes(answer["RESULT_ENCODED"].item(), 10**6).pixels
    expected: Any = upscaler(given).image
    assert np.array_equal(found, expected.cpu().numpy())


def test_arrays_of_the_host_come_back_there(loaded: Loaded, upscaler: Upscaler) -> None:
    given = image("IMAGE").cpu().numpy()
    answer = loaded.answer({"IMAGE": given}, "RESULT")
    assert isinstance(answer["RESULT"], np.ndarray)
    assert np.array_equal(answer["RESULT"], upscaler(given).image)


def test_nan_that_the_gpu_finds_is_the_client_s_mistake(loaded: Loaded) -> None:
    given = torch.full((31, 40, 3), float("nan"), device="cuda")
    code, _ = loaded.refusal({"IMAGE_FP32": Tensor.from_dlpack("IMAGE_FP32", given)})
    assert code == "INVALID_ARG"
    assert "RESULT" in loaded.answer({"IMAGE": image("IMAGE").cpu().numpy()})
