"""Names of devices: one way to read them, and devices that are not there."""

import pytest
import torch

from pcsr.errors import BackendError, UsageError
from pcsr.runtime.devices import parse_device, torch_device
from pcsr.runtime.onnxruntime_session import provider_of


def test_names_are_kinds_and_numbers() -> None:
    names = {"cpu": ("cpu", None), "cuda": ("cuda", None), "cuda:0": ("cuda", 0)}
    assert {name: parse_device(name) for name in names} == names
    assert parse_device("cuda:12") == ("cuda", 12)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "CUDA", "cuda:²"])
def test_unknown_devices(name: str) -> None:
    for read in (torch_device, provider_of):
        with pytest.raises(UsageError, match="expected cpu, cuda or cuda:N"):
            read(name)


def test_cuda_is_never_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BackendError, match="built without CUDA"):
        torch_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no NVIDIA GPU"):
        torch_device("cuda:0")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(BackendError, match=r"'cuda:2' is not there .*cuda:0 to cuda:1"):
        torch_device("cuda:2")
