"""PyTorch's settings of arithmetic while graphs run, and afterwards."""

from typing import Any

import pytest
import torch

from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic

CONVOLUTIONS = torch.backends.cudnn.conv  # type: ignore[attr-defined]
HOSTS = {
    "default": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "new": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "convolutions": lambda: setattr(CONVOLUTIONS, "fp32_precision", "ieee"),
    "search": lambda: setattr(torch.backends.cudnn, "benchmark", True),
}


@pytest.mark.parametrize("host", HOSTS)
def test_settings_of_the_host_come_back(host: str) -> None:
    matmul, conv = torch.backends.cuda.matmul, CONVOLUTIONS

    def settings() -> tuple[Any, ...]:
        try:
            old = torch.get_float32_matmul_precision()
        except RuntimeError:
            old = "mixed"
        return torch.backends.cudnn.benchmark, conv.fp32_precision, matmul.fp32_precision, old

    before = settings()
    try:
        HOSTS[host]()
        chosen = settings()
        with exact_arithmetic(), exact_arithmetic():
            assert not torch.backends.cudnn.benchmark  # a search for each new size
            assert conv.fp32_precision == "ieee"
            assert matmul.fp32_precision != "tf32"
            assert not matmul.allow_tf32  # raises where the old and the new setting disagree
        assert settings() == chosen
    finally:
        setattr(torch.backends, "fp32_precision", "none")  # noqa: B010  # for mypy it is none
        torch.set_float32_matmul_precision("highest")
        conv.fp32_precision = before[1]
        torch.backends.cudnn.benchmark = before[0]
