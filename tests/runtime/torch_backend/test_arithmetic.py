"""PyTorch's settings of arithmetic while graphs run, and afterwards."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
import torch

from pcsr.runtime.torch_backend.arithmetic import exact_arithmetic, isolated, searched
from pcsr.runtime.torch_backend.capture import away_from_captures

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


def now() -> tuple[Any, ...]:
    matmul = torch.backends.cuda.matmul
    return torch.backends.cudnn.benchmark, CONVOLUTIONS.fp32_precision, matmul.fp32_precision


def test_threads_hold_the_settings_together_and_the_last_one_lets_go() -> None:
    before, inside = now(), threading.Barrier(2, timeout=60)
    seen, leave = list[Any](), [threading.Event(), threading.Event()]

    def hold(index: int) -> None:
        with exact_arithmetic():
            inside.wait()  # breaks where one waits for the other to leave
            assert leave[index].wait(60)
            seen.append(now())

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(hold, index) for index in range(2))
        leave[0].set()
        first.result()
        assert now() == seen[0] != before
        leave[1].set()
        second.result()
    assert seen[0] == seen[1]
    assert now() == before


def test_a_body_that_fails_brings_the_settings_back() -> None:
    before = now()
    with pytest.raises(KeyError), exact_arithmetic(), exact_arithmetic():
        raise KeyError
    assert now() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_computes_has_the_hosts_settings() -> None:
    before, inside, leave = now(), threading.Event(), threading.Event()

    def hold() -> None:
        with exact_arithmetic():
            inside.set()
            assert leave.wait(60)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(hold)
        assert inside.wait(60)
        child = os.fork()
        if child == 0:
            found = [now()]
            with exact_arithmetic():
                found.append(now())
            found.append(now())
            os._exit(int(not (found[0] == found[2] == before != found[1])))
        leave.set()
        done.result()
    assert os.waitpid(child, 0)[1] == 0


def test_isolated_code_sees_nothing_of_the_hosts_thread() -> None:
    def seen() -> tuple[Any, ...]:
        autocast = [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")]
        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        return *autocast, *modes, torch.empty(1).device.type

    before = [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")]
    torch.set_autocast_enabled("cuda", True)  # the context manager refuses without a GPU
    try:
        with torch.autocast("cpu"), torch.inference_mode(), torch.device("meta"):
            host = seen()
            with isolated():
                assert seen() == (False, False, False, False, "cpu")
            assert seen() == host == (True, True, True, False, "meta")
    finally:
        torch.set_autocast_enabled("cuda", before[1])


class _OnGpu:
    is_cuda = True


@pytest.mark.parametrize(("captures", "expected"), [(False, True), (True, False)])
def test_cudnn_searches_for_one_convolution_and_never_in_a_capture(
    captures: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captures)
    image = cast("torch.Tensor", _OnGpu())
    with exact_arithmetic():
        with searched(image):
            assert torch.backends.cudnn.benchmark == expected
        assert not torch.backends.cudnn.benchmark
        with pytest.raises(KeyError), searched(image):
            raise KeyError
        assert not torch.backends.cudnn.benchmark
        with searched(torch.zeros(1)):
            assert not torch.backends.cudnn.benchmark


def test_a_search_waits_for_captures_of_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch empties its cache behind a search."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    done, image = threading.Event(), cast("torch.Tensor", _OnGpu())

    def search() -> None:
        with searched(image):
            done.set()

    with ThreadPoolExecutor(1) as pool:
        with away_from_captures():
            found = pool.submit(search)
            assert not done.wait(0.2)
        found.result()
    assert done.is_set()
