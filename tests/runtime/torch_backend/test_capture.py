"""A capture that fails leaves the process as it was: here PyTorch's side is played by fakes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pcsr.runtime.gpu.recording import POISON, is_same
from pcsr.runtime.torch_backend import capture

CUDA = torch.device("cuda", 1)


class Invalidated(RuntimeError):
    pass


class FakeCuda:
    """Stands for PyTorch's allocator, its graphs and streams. broken: `capture_end` of a capture
    that was invalidated raises before it closes the pool, as up to version 2.11.
    """

    def __init__(self, broken: bool) -> None:
        self.broken, self.open = broken, set[int]()
        self.current, self.invalid, self.pools = "caller", False, 0
        self.devices, self.released = list[torch.device](), list[int]()
        self.trusting = False  # a random generator believes in a capture

    def graph(self) -> SimpleNamespace:
        return SimpleNamespace(capture_begin=self.begin, capture_end=self.end)

    def handle(self) -> int:
        self.pools += 1
        return self.pools

    def begin(self, pool: int, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        assert self.current == "side"
        self.open.add(pool)
        self.invalid, self.trusting = False, True

    def end(self) -> None:
        assert self.current == "side"
        if self.invalid and self.broken:
            raise Invalidated("capture was invalidated")
        self.open.clear()
        if self.invalid:
            raise Invalidated("capture was invalidated")
        self.trusting = False

    def end_pool(self, device: int, pool: int) -> None:
        assert device == CUDA.index
        if pool not in self.open:
            raise RuntimeError("not currently recording to mempool_id")
        self.open.remove(pool)

    def release(self, device: int, pool: int) -> None:
        self.released.append(pool)

    def empty_cache(self) -> None:
        assert not self.open, "captures_underway.empty() INTERNAL ASSERT FAILED"

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        before, self.current = self.current, "side"
        try:
            yield
        finally:
            self.current = before

    def device(self, device: torch.device) -> AbstractContextManager[None]:
        self.devices.append(device)
        return self.nothing()

    @contextmanager
    def nothing(self) -> Iterator[None]:
        yield


@pytest.fixture(params=[True, False], ids=["PyTorch 2.11", "PyTorch 2.12"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda(request.param)
    for name, value in {
        "CUDAGraph": fake.graph,
        "graph_pool_handle": fake.handle,
        "synchronize": lambda *_: None,
        "empty_cache": fake.empty_cache,
        "stream": fake.stream,
        "device": fake.device,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    pools = {"_cuda_endAllocateToPool": fake.end_pool, "_cuda_releasePool": fake.release}
    for name, value in pools.items():
        monkeypatch.setattr(torch._C, name, value, raising=False)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, device, **how: zeros(*size, **how))
    monkeypatch.setattr(capture, "_ABANDONED", [])
    return fake


def invalidate(fake: FakeCuda) -> None:
    fake.invalid = True


def refuse(fake: FakeCuda) -> None:
    fake.invalid = True
    raise Invalidated("operation not permitted when stream is capturing")


def raise_an_error(fake: FakeCuda) -> None:
    raise ValueError("not of CUDA")


@pytest.mark.parametrize("fails", [invalidate, refuse, raise_an_error])
def test_pool_stream_and_generators_are_as_before(
    cuda: FakeCuda, fails: Callable[[FakeCuda], None]
) -> None:
    stream = SimpleNamespace(device=CUDA)
    with pytest.raises((Invalidated, ValueError)):
        capture.captured(lambda: fails(cuda), stream)  # type: ignore[arg-type]
    assert cuda.current == "caller"
    assert not cuda.open
    assert not cuda.trusting
    assert set(cuda.devices) == {CUDA}
    capture.free_cached_memory()
    capture.captured(lambda: None, stream)  # type: ignore[arg-type]


def test_a_replay_must_give_the_image_but_for_rounding() -> None:
    image = torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8)
    off_by_one = image.clone()
    off_by_one[::9] ^= 1
    assert is_same(image, image.clone())
    assert is_same(off_by_one, image)
    assert is_same(off_by_one / 255, image / 255)
    assert not is_same(torch.full_like(image, POISON), image)
    assert not is_same(image.flip(0), image)
    assert not is_same(image.flip(0).to(torch.uint16) * 257, image.to(torch.uint16) * 257)


def test_memory_is_given_back_by_the_one_way_that_minds_captures() -> None:
    """`empty_cache` beside a capture of another thread ends in an assertion of PyTorch."""
    runtime = Path(capture.__file__).parents[1]
    files = [f for f in runtime.rglob("*.py") if "cuda.empty_cache(" in f.read_text("utf-8")]
    assert [file.name for file in files] == ["capture.py"]
