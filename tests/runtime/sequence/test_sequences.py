"""The frames of a sequence are those of a call, bit for bit, and only what changed is computed."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcsr import BackendError, Cancellation, CancelledError, ImageError, Upscaler, UsageError
from pcsr.runtime.cpu import native_pipeline, planning
from pcsr.runtime.cpu.onnxruntime import OnnxRuntimeRunner
from pcsr.runtime.sequence import classified
from tests import checkpoints
from tests.exports import Exports
from tests.runtime.routing.calibrations import calibrated

from .clips import SHAPE, assert_same, changed, shares, still

MODES: dict[str, dict[str, Any]] = {
    "k": {"k": 0.3},
    "no refinement": {"k": 0, "refine": False},
    "adaptive": {"adaptive": True},
    "adaptive, no refinement": {"adaptive": True, "refine": False},
    "share": {"heavy_ratio": 0.3},
    "all heavy": {"heavy_ratio": 1.0},
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
H, W = SHAPE[:2]
PLACES = {
    "corner": (slice(0, 1), slice(0, 1)),
    "last corner": (slice(H - 1, H), slice(W - 1, W)),
    "edge": (slice(20, 21), slice(W - 1, W)),
    "inside": (slice(31, 32), slice(40, 41)),
    "tile border": (slice(31, 33), slice(31, 33)),
    "lines": (slice(30, 31), slice(0, W)),
    "column": (slice(0, H), slice(50, 51)),
    "half": (slice(0, H // 2), slice(0, W)),
    "all": (slice(0, H), slice(0, W)),
}


@pytest.fixture(scope="module")
def upscaler(exports: Exports) -> Iterator[Upscaler]:
    """Looks 6 pixels around; the other networks look further."""
    with Upscaler(exports.of(checkpoints.tiny("fsrcnn", 2)), threads=2) as opened:
        yield opened


@each_mode
@pytest.mark.parametrize("scale", [None, 2.5, 1])
def test_each_place(upscaler: Upscaler, mode: dict[str, Any], scale: float | None) -> None:
    first = still()
    clip = [first]
    for place in PLACES.values():
        clip += [changed(first, *place), first]
    found = shares(upscaler, clip, scale, **mode)
    assert found[0] == found[-1] == found[-2] == 0, "all changes at last"
    assert all(0 < share < 1 for share in found[1:9]), found


@each_mode
def test_frames_that_are_the_one_before_are_not_computed(
    upscaler: Upscaler, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, calls = still(), list[str]()
    run = OnnxRuntimeRunner.run_image

    def counted(self: Any, role: str, *args: Any) -> Any:  # noqa: ANN401
        calls.append(role)
        return run(self, role, *args)

    monkeypatch.setattr(OnnxRuntimeRunner, "run_image", counted)
    with upscaler.sequence(**mode) as frames:
        results = [frames(frame.copy()) for _ in range(3)]
        assert len(calls) == 1
        assert [result.stats.reused_share for result in results] == [0, 1, 1]
        assert results[2].image.base is results[0].image.base
        assert list(results[2].stats.stage_ms) == ["compare"]
        frames(changed(frame, slice(5, 9), slice(5, 9)))
        assert len(calls) == 2
    for result in results:
        assert_same(result, upscaler(frame, **mode))


@each_mode
def test_some_places_at_once(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    first = still((40, 400, 3))
    second = changed(first, slice(0, 2), slice(0, 3))
    third = changed(changed(second, slice(30, 40), slice(390, 400)), slice(20, 21), slice(200, 201))
    assert min(shares(upscaler, [first, second, third, first], **mode)[1:]) > 0.3


def test_a_moved_window_on_a_still_screen(upscaler: Upscaler) -> None:
    screen = np.full((90, 120, 3), 40, np.uint8)
    clip = []
    for step in range(6):
        frame = screen.copy()
        frame[10 + step : 30 + step, 12 + 3 * step : 40 + 3 * step] = still((20, 28, 3))
        clip.append(frame)
    assert min(shares(upscaler, clip, adaptive=True)[1:]) > 0.2
    assert min(shares(upscaler, clip, k=0)[1:]) > 0.2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.dtype(">u2")])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("mode", ["k", "adaptive"])
def test_each_layout(upscaler: Upscaler, mode: str, channels: tuple[int, ...], dtype: Any) -> None:  # noqa: ANN401
    kind = np.uint16 if isinstance(dtype, np.dtype) else dtype
    first = still((40, 56, *channels), kind)
    clip = [first, first, changed(first, slice(3, 8), slice(40, 50)), first]
    if channels in ((2,), (4,)):
        clear, opaque = first.copy(), first.copy()
        clear[:10, :10, -1], opaque[..., -1] = 0, first.max()
        clip += [clear, changed(clear, slice(0, 4), slice(0, 4)), opaque, opaque.copy(), first]
        clip.append(changed(opaque, slice(30, 32), slice(30, 32)))
        clip[-1][..., -1] = first.max()
    clip = [frame.astype(dtype) for frame in clip]
    found = shares(upscaler, clip, **MODES[mode])
    assert found[:2] == [0, 1]
    assert 0 < found[2] < 1


def test_strides_of_any_kind(upscaler: Upscaler) -> None:
    first = still((80, 60, 3))
    second = changed(first, slice(3, 8), slice(40, 50))
    turned = [frame.transpose(1, 0, 2)[::-1] for frame in (first, second, first[:, ::1])]
    assert all(share > 0 for share in shares(upscaler, turned, k=0)[1:])


@pytest.mark.parametrize("mode", ["k", "adaptive", "share"])
def test_each_network(
    carn_like_bundle: Path,
    three_way_bundle: Path,
    single_bundle: Path,
    liif_bundle: Path,
    mixed_bundle: Path,
    mode: str,
) -> None:
    first = still((80, 120, 3))
    clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    clip.append(changed(first, slice(70, 80), slice(110, 120)))
    for bundle in (carn_like_bundle, three_way_bundle, single_bundle, liif_bundle, mixed_bundle):
        with Upscaler(bundle, threads=2) as upscaler:
            if upscaler.bundle.upsamplers == 1 and mode != "k":
                continue
            options = MODES[mode] if upscaler.bundle.upsamplers > 1 else {}
            found = shares(upscaler, clip, **options) + shares(upscaler, clip, 2.5, **options)
            assert sum(0 < share < 1 for share in found) >= 2, (bundle, found)


def test_plain_networks(plain_bundle: Path) -> None:
    with Upscaler(plain_bundle, threads=2) as upscaler:
        for shape in (SHAPE, SHAPE[:2], (61, 83, 4)):
            first = still(shape)
            clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
            found = shares(upscaler, clip)
            assert found[:2] == [0, 1]
            assert 0.5 < found[2] < 1


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_rectangles(upscaler: Upscaler, data: st.DataObject) -> None:
    mode = MODES[data.draw(st.sampled_from(list(MODES)))]
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 90))
    scale = data.draw(st.sampled_from([None, 1, 1.7, 2, 2.5, 3]))
    frame = still((height, width, 3), seed=data.draw(st.integers(0, 9)))
    clip = [frame]
    for seed in range(data.draw(st.integers(1, 3))):
        for _ in range(data.draw(st.integers(0, 3))):
            top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
            rows = slice(top, data.draw(st.integers(top + 1, height)))
            columns = slice(left, data.draw(st.integers(left + 1, width)))
            frame = changed(frame, rows, columns, seed)
        clip.append(frame)
    shares(upscaler, clip, scale, **mode)


@each_mode
def test_changes_of_size_dtype_and_channels(upscaler: Upscaler, mode: dict[str, Any]) -> None:
    first, small = still(), still((30, 40, 3))
    clip = [first, small, small, still((40, 30, 3)), first, first[..., 0], first.astype(np.uint16)]
    clip += [still((61, 83, 4)), first, still((61, 83, 3), np.float32), first, first]
    found = shares(upscaler, clip, **mode)
    assert found == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_results_stay_what_they_were(upscaler: Upscaler) -> None:
    frame = still()
    expected = upscaler(frame)
    with upscaler.sequence() as frames:
        first = frames(frame)
        frame[:20] = 0  # a caller fills the same buffer again
        second = frames(frame)
        assert_same(first, expected)
        assert_same(second, upscaler(frame))
        for result in (first, second):
            for array in (result.image, result.assignment, result.difficulty):
                assert array is not None
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
    assert_same(first, expected)


def test_tensors_are_of_their_own(upscaler: Upscaler) -> None:
    torch = pytest.importorskip("torch")
    frame = torch.from_numpy(still())
    with upscaler.sequence() as frames:
        first = frames(frame)
        first.image[:] = 0
        again = frames(frame)
        assert again.stats.reused_share == 1
        assert torch.equal(again.image, upscaler(frame).image)


@each_mode
def test_errors_and_cancellations_leave_nothing_behind(
    upscaler: Upscaler, mode: dict[str, Any]
) -> None:
    first = still(dtype=np.float32)
    second = changed(first, slice(3, 9), slice(30, 40))
    broken = second.copy()
    broken[40, 40] = np.nan
    with upscaler.sequence(**mode) as frames:
        frames(first)
        with pytest.raises(ImageError, match="NaN"):
            frames(broken)
        assert_same(frames(second), upscaler(second, **mode))
        assert frames(first).stats.reused_share > 0
        for count in range(1, 40):
            asked = _after(count)
            try:
                frames(second if count % 2 else first, cancellation=Cancellation(asked=asked))
            except CancelledError:
                found = frames(first)
                assert found.stats.reused_share in (0, 1)
                assert_same(found, upscaler(first, **mode))
            else:
                break
        else:
            raise AssertionError("no call of 40 stages")


def _after(count: int) -> Any:  # noqa: ANN401
    """Says that a call is over when it is asked for the count-th time."""
    calls = iter(range(count))
    return lambda: next(calls, None) is None


@pytest.fixture
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcsr.runtime.process.cancellation.POLL_S", 0)


test_errors_and_cancellations_leave_nothing_behind = pytest.mark.usefixtures("asked_each_time")(
    test_errors_and_cancellations_leave_nothing_behind
)


def test_off(upscaler: Upscaler) -> None:
    frame = still()
    with upscaler.sequence(k=0.3, reuse="off") as frames:
        for _ in range(2):
            result = frames(frame)
            assert result.stats.reused_share == 0
            assert_same(result, upscaler(frame, k=0.3))


def test_within(upscaler: Upscaler) -> None:
    """A block counts as changed where a pixel is further away than that from what its result was
    computed from, and then all of it is new."""
    first = np.full((40, 64, 3), 100, np.uint8)
    second = first.copy()
    second[0:8, 0:8], second[16:20, 16:20] = 102, 103
    mixed = first.copy()
    mixed[16:20, 16:20] = 103
    third = first.copy()
    third[0:8, 0:8] = 103  # from the first
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257), (np.float32, 1 / 255)):
        clip = [(frame * np.float64(factor)).astype(dtype) for frame in (first, second, mixed)]
        with upscaler.sequence(adaptive=True, within=2) as frames:
            frames(clip[0])
            found = frames(clip[1])
            assert 0 < found.stats.reused_share < 1
            assert_same(found, upscaler(clip[2], adaptive=True))
    with upscaler.sequence(k=0, within=2) as frames:
        for frame in (first, second):
            frames(frame)
        assert_same(frames(third), upscaler(third, k=0))


@each_mode
def test_nothing_is_kept_that_does_not_fit(
    upscaler: Upscaler, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classified, "WORKING_BYTES", 2**20)
    first = still()
    clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    found = shares(upscaler, clip, **mode)
    assert found[:2] == [0, 1]
    if "k" not in mode:
        assert found[2:] == [0, 0]


@each_mode
def test_small_tiles(
    upscaler: Upscaler, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed is cut into pieces that fit memory, too."""
    monkeypatch.setattr(planning, "TILE_BYTES", 2**20)
    monkeypatch.setattr(native_pipeline, "PIXELS_PER_CHUNK", 512)
    first = still((90, 200, 3))
    clip = [first, changed(first, slice(10, 70), slice(20, 110)), first]
    assert shares(upscaler, clip, **mode)[1] > 0


def test_runners_that_do_not_cut_exactly(
    three_way_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OnnxRuntimeRunner, "cuts_exactly", False, raising=False)
    caplog.set_level("INFO", "pcsr.upscaler")
    first = still()
    clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    with Upscaler(three_way_bundle, threads=1) as upscaler:
        assert shares(upscaler, clip) == [0, 1, 0, 0]
    said = [line for line in caplog.messages if "reused" in line]
    assert said == [
        "only frames that are the one before are reused: parts of a frame are not computed exactly "
        "in this precision"
    ]


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_other_backends(backend: str, carn_like_bundle: Path, plain_bundle: Path) -> None:
    first = still()
    clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
    for bundle in (carn_like_bundle, plain_bundle):
        try:
            upscaler = Upscaler(bundle, backend=backend, threads=1)
        except BackendError:
            pytest.skip(f"no {backend} here")
        with upscaler:
            found = shares(upscaler, clip)
            assert found[:2] == [0, 1]
            if backend == "torch" or bundle == carn_like_bundle:
                assert found[2:] == [0, 0]


def test_budgets(carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = calibrated(carn_like_bundle, tmp_path / "calibrated")
    first = still()
    with Upscaler(bundle, threads=2) as upscaler:
        for options in ({"preset": "balanced"}, {"max_psnr_loss_db": 0.1}, {"budget_ms": 1e5}):
            clip = [first, first, changed(first, slice(0, 3), slice(0, 4)), first]
            assert shares(upscaler, clip, **options)[:2] == [0, 1]


def test_threads_and_sequences_at_once(upscaler: Upscaler) -> None:
    first = still()
    clip = [changed(first, slice(n, n + 5), slice(10, 20), n) for n in range(8)]
    expected = [upscaler(frame, adaptive=True) for frame in clip]
    with (
        upscaler.sequence(adaptive=True) as one,
        upscaler.sequence(adaptive=True) as other,
        ThreadPoolExecutor(4) as pool,
    ):
        for n, found in enumerate(pool.map(lambda n: (one, other)[n % 2](clip[n % 8]), range(32))):
            assert_same(found, expected[n % 8])


def test_the_number_of_threads_does_not_matter(carn_like_bundle: Path) -> None:
    first = still()
    clip = [first, changed(first, slice(0, 30), slice(0, 40)), first]
    with (
        Upscaler(carn_like_bundle, threads=1) as alone,
        Upscaler(carn_like_bundle, threads=3) as up,
    ):
        for mode in MODES.values():
            with up.sequence(**mode) as frames:
                for frame in clip:
                    assert_same(frames(frame), alone(frame, **mode))


def test_arguments(upscaler: Upscaler) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("reuse must be one of exact, off, found 'some'", {"reuse": "some"}),
        ("within must be a number of levels from 0 to 255, found 256", {"within": 256}),
        ("within must be a number of levels", {"within": "1"}),
        ("within says what is reused, and reuse is off", {"reuse": "off", "within": 1}),
        ("unknown option 'heavy'", {"heavy": 1}),
        ("scale must be a number from 1", {"scale": 0.5}),
        ("adaptive and heavy_ratio exclude", {"adaptive": True, "heavy_ratio": 0.1}),
    ]
    for message, options in wrong:
        with pytest.raises(UsageError, match=f"^{message}"):
            upscaler.sequence(**options)


def test_after_the_end(carn_like_bundle: Path) -> None:
    upscaler = Upscaler(carn_like_bundle, threads=1)
    with upscaler.sequence() as frames:
        frames(still())
    with pytest.raises(UsageError, match="this sequence is closed; call sequence"):
        frames(still())
    frames = upscaler.sequence()
    upscaler.close()
    with pytest.raises(UsageError, match="this Upscaler is closed"):
        frames(still())


@contextmanager
def _alive() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def test_no_thread_is_left(carn_like_bundle: Path) -> None:
    with _alive(), Upscaler(carn_like_bundle, threads=2) as upscaler, upscaler.sequence() as frames:
        frames(still())
