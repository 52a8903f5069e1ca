"""Every argument of the constructor, of a call and of stream is checked, with one line each."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler, UsageError
from pcsr.runtime.inputs.arguments import shown

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def upscaler(carn_like_bundle: Path) -> Upscaler:
    return Upscaler(carn_like_bundle, threads=1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("tile_px", value) for value in (0, -5, 1, 15, 40.0, "32", True, math.nan)],
        *[("threads", value) for value in ("a", 2.0, True, 257, [2])],
        *[("device", value) for value in (0, None, b"cpu")],
        ("backend", None),
        ("precision", 16),
        ("passes", None),
        ("cuda_graphs", 1),
        ("may_build", "no"),
        *[("k", value) for value in ("a", True, math.nan, 1j, 10**400)],
        ("adaptive", "yes"),
        ("heavy_ratio", np.array([0.1, 0.2])),
    ],
)
def test_the_constructor(carn_like_bundle: Path, option: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=rf"^{option} must .*, found ") as refused:
        Upscaler(carn_like_bundle, **{option: value})
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("bundle", [None, 3, b"bundle", "with\0nul"])
def test_the_path_of_a_bundle(bundle: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="bundle must be the path of a bundle, found"):
        Upscaler(bundle)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("scale", value) for value in ("x", "4", True, math.nan, 10**400, [2])],
        *[("k", value) for value in ("a", True, math.nan, np.float64("nan"))],
        *[("adaptive", value) for value in ("yes", 1, None)],
        *[("heavy_ratio", value) for value in ("0.2", math.nan, True)],
        *[("preset", value) for value in (3, True)],
        *[("budget_ms", value) for value in ("40", 0, math.inf, 10**400)],
        *[("max_psnr_loss_db", value) for value in ("1", -1)],
        ("adaptive_budget", "yes"),
        ("refine", 1),
    ],
)
def test_a_call_and_a_stream(upscaler: Upscaler, option: str, value: Any) -> None:  # noqa: ANN401
    calls: list[tuple[Any, Any]] = [(upscaler, IMAGE), (upscaler.warmup, IMAGE.shape[:2])]
    for call, given in calls:
        with pytest.raises(UsageError, match=rf"^{option} must .*, found "):
            call(given, **{option: value})
    with pytest.raises(UsageError, match=rf"^{option} must .*, found "):
        upscaler.stream(IMAGE, print, **{option: value})


def test_an_unknown_name_is_said_with_the_known_ones(upscaler: Upscaler) -> None:
    options: dict[str, Any] = {"adaptiv": True}
    for call in (upscaler, lambda image, **more: upscaler.stream(image, print, **more)):
        with pytest.raises(UsageError, match=r"^unknown option 'adaptiv' \(known: .*adaptive,"):
            call(IMAGE, **options)
    with pytest.raises(UsageError, match=r"unknown option 'adaptiv' \(known: bundle, device,"):
        Upscaler(upscaler.bundle.path, **options)


def test_a_stream_takes_a_function(upscaler: Upscaler) -> None:
    take: Any = []
    with pytest.raises(UsageError, match="take must be a function of rows, found a list"):
        upscaler.stream(IMAGE, take)


@pytest.mark.parametrize("size", [7, (7,), (0, 7), (7, 0), (7, 7, 3), (7.5, 7), "77", None])
def test_the_size_of_a_warm_up(upscaler: Upscaler, size: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=r"^size must be \(height, width\)"):
        upscaler.warmup(size)


def test_scalars_of_numpy_are_taken(carn_like_bundle: Path) -> None:
    opening: dict[str, Any] = {"threads": np.int64(2), "tile_px": np.uint16(16)}
    call: dict[str, Any] = {"scale": np.float64(2.5), "k": np.float32(0.5), "refine": np.bool_(1)}
    share: dict[str, Any] = {"scale": np.int8(2), "heavy_ratio": np.float16(0.25)}
    upscaler = Upscaler(carn_like_bundle, **opening)
    expected = Upscaler(carn_like_bundle)(IMAGE, 2.5, k=0.5).image
    assert np.array_equal(upscaler(IMAGE, **call).image, expected)
    assert upscaler(IMAGE, **share).stats.heavy_share == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    "way", [{"preset": "fast"}, {"budget_ms": 40.0}, {"max_psnr_loss_db": 0.1}]
)
def test_a_k_of_zero_excludes_calibrated_ways_as_any_other_does(
    upscaler: Upscaler, way: dict[str, Any]
) -> None:
    for k in (0, 0.5):
        with pytest.raises(UsageError, match="exclude each other"):
            upscaler(IMAGE, k=k, **way)


def test_values_are_shown_in_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown(np.float32(0.5)) == "0.5"
    assert shown(np.zeros((300, 300))) == "a ndarray"
    assert shown(object()) == "an object"
    assert len(shown("x" * 10_000)) < 100
    assert shown(10**5000) == "a number of too many digits"
