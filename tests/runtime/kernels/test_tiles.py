"""The choice among tiles, on fakes of a GPU and its clock."""

import pytest
import torch

from pcsr.runtime.kernels import chosen_tiles, tiles
from pcsr.runtime.kernels.tiles import LEAST_LISTED, LEAST_PIXELS, Tile, Work, run_fastest

FIRST, SLOW, FAST, BROKEN = Tile(128, 4), Tile(128, 8), Tile(64, 4), Tile(128, 4, 128)
ALL = (FIRST, SLOW, BROKEN, FAST)
MS = {FIRST: 0.72, SLOW: 0.9, FAST: 0.41}
GPU = torch.device("cuda", 0)


class _Gpu:
    """A clock that goes on by what is launched, and whether the stream is being captured."""

    def __init__(self) -> None:
        self.now, self.launched, self.captures = 0.0, list[Tile](), False

    def run(self, tile: Tile) -> None:
        if tile == BROKEN:
            raise RuntimeError("out of resource: registers")
        self.launched.append(tile)
        self.now += MS[tile]

    def record_event(self, event: "_Event") -> "_Event":
        event.at = self.now
        return event


class _Event:
    at = 0.0

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: "_Event") -> float:
        return end.at - self.at


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> _Gpu:
    found = _Gpu()
    monkeypatch.setattr(tiles, "_chosen", {})
    fakes = {
        "current_stream": lambda _: found,
        "is_current_stream_capturing": lambda: found.captures,
        "Event": lambda enable_timing: _Event(),
        "_sleep": lambda _: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return found


def _work(pixels: int = LEAST_PIXELS, constant: int = 0, count: torch.Tensor | None = None) -> Work:
    return Work("dense", GPU, pixels, {"SHAPE": (4, constant)}, count)


def test_the_fastest_is_taken_and_runs_last(gpu: _Gpu) -> None:
    run_fastest(_work(), ALL, gpu.run)
    assert gpu.launched == [FIRST, SLOW, FAST] * 4 + [FAST]
    assert chosen_tiles() == [
        f"dense of {LEAST_PIXELS} pixels: 64x4 0.410 ms (128x4 0.720, 128x8 0.900)"
    ]


def test_it_is_remembered_for_the_same_work(gpu: _Gpu) -> None:
    run_fastest(_work(), ALL, gpu.run)
    for pixels in (LEAST_PIXELS, 4 * LEAST_PIXELS - 1):
        gpu.launched.clear()
        run_fastest(_work(pixels), ALL, gpu.run)
        assert gpu.launched == [FAST]
    for other in (_work(4 * LEAST_PIXELS), _work(constant=1)):
        gpu.launched.clear()
        run_fastest(other, ALL, gpu.run)
        assert len(gpu.launched) == 13
    assert len(chosen_tiles()) == 3


@pytest.mark.parametrize(
    ("work", "candidates"),
    [
        (_work(LEAST_PIXELS - 1), ALL),
        (_work(), ALL[:1]),
        (Work("dense", torch.device("cpu"), LEAST_PIXELS, {}), ALL),
    ],
    ids=["small", "only one", "CPU"],
)
def test_nothing_is_tried(gpu: _Gpu, work: Work, candidates: tuple[Tile, ...]) -> None:
    run_fastest(work, candidates, gpu.run)
    assert gpu.launched == [FIRST]
    assert chosen_tiles() == []


def test_a_capture_takes_the_first_or_what_was_chosen_before(gpu: _Gpu) -> None:
    gpu.captures = True
    run_fastest(_work(), ALL, gpu.run)
    assert gpu.launched == [FIRST]
    assert chosen_tiles() == []
    gpu.captures = False
    run_fastest(_work(), ALL, gpu.run)
    gpu.captures = True
    gpu.launched.clear()
    run_fastest(_work(), ALL, gpu.run)
    assert gpu.launched == [FAST]


def test_errors_of_the_first_are_the_callers(gpu: _Gpu) -> None:
    with pytest.raises(RuntimeError, match="out of resource"):
        run_fastest(_work(), (BROKEN, FIRST), gpu.run)
    assert chosen_tiles() == []


def test_a_short_list_measures_nothing(gpu: _Gpu) -> None:
    listed = torch.tensor([LEAST_LISTED - 1], dtype=torch.int32)
    for _ in range(2):
        run_fastest(_work(count=listed), ALL, gpu.run)
    assert gpu.launched == [FIRST, FIRST]
    assert "not tried" in chosen_tiles()[0]


def test_a_long_list_is_measured(gpu: _Gpu) -> None:
    listed = torch.tensor([LEAST_LISTED], dtype=torch.int32)
    run_fastest(_work(count=listed), ALL, gpu.run)
    assert gpu.launched[-1] == FAST
    assert f"dense of {LEAST_LISTED} in {LEAST_PIXELS} pixels: 64x4" in chosen_tiles()[0]
