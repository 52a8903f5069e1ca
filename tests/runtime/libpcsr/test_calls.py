"""What calls refuse, how they end early, and many of them at once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr.runtime.cpu.passes import instructions

from .driver import ARGUMENT, BACKEND, BUNDLE, CANCELLED, IMAGE, OK, Done, Driver, Job
from .equality import random_image, upscaler_of

IMAGE_RGB = random_image((20, 24))
NO_OUTPUT: dict[str, Any] = {"out_bytes": None}
REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "no handle": ({"name": "nothing"}, ARGUMENT),
    "no input": ({"no_input": 1}, ARGUMENT),
    "no data": ({"no_data": 1}, ARGUMENT),
    "no output": (NO_OUTPUT, ARGUMENT),
    "scale below 1": ({"scale": 0.99}, ARGUMENT),
    "scale too large": ({"scale": 1001}, ARGUMENT),
    "negative scale": ({"scale": -4}, ARGUMENT),
    "NaN scale": ({"scale": "nan"}, ARGUMENT),
    "infinite scale": ({"scale": "inf"}, ARGUMENT),
    "NaN k": ({"k": "nan"}, ARGUMENT),
    "large k": ({"k": 2e6}, ARGUMENT),
    "unknown routing": ({"routing": 3}, ARGUMENT),
    "negative routing": ({"routing": -1}, ARGUMENT),
    "unknown refine": ({"refine": 3}, ARGUMENT),
    "share above 1": ({"routing": 2, "heavy_ratio": 1.01}, ARGUMENT),
    "share below 0": ({"routing": 2, "heavy_ratio": -0.01}, ARGUMENT),
    "NaN share": ({"routing": 2, "heavy_ratio": "nan"}, ARGUMENT),
    "width 0": ({"width": 0}, ARGUMENT),
    "negative height": ({"height": -1}, ARGUMENT),
    "no channels": ({"channels": 0}, ARGUMENT),
    "5 channels": ({"channels": 5}, ARGUMENT),
    "unknown format": ({"format": 3}, ARGUMENT),
    "unknown order": ({"order": 2}, ARGUMENT),
    "unknown layout": ({"layout": 2}, ARGUMENT),
    "overlapping rows": ({"row_stride": 71}, ARGUMENT),
    "overlapping rows of the output": ({"out_row_stride": 5}, ARGUMENT),
    "overlapping planes": ({"layout": 1, "row_stride": 24, "plane_stride": 24}, ARGUMENT),
    "overlapping planes of the output": ({"out_layout": 1, "out_plane_stride": 96}, ARGUMENT),
    "other width": ({"out_width": 95}, ARGUMENT),
    "other height": ({"out_height": 81}, ARGUMENT),
    "other channels": ({"out_channels": 1}, ARGUMENT),
    "other format": ({"out_format": 2}, ARGUMENT),
    "size of the input": ({"struct_size": 8}, ARGUMENT),
    "no size of the input": ({"struct_size": 0}, ARGUMENT),
    "size of the output": ({"out_struct_size": 16}, ARGUMENT),
    "size of the options": ({"options_size": 7}, ARGUMENT),
    "huge size of the options": ({"options_size": 2**32}, ARGUMENT),
    "no size of the options": ({"options_size": 0}, ARGUMENT),
    "size of the statistics": ({"statistics_size": 7}, ARGUMENT),
}


def upscaled(driver: Driver, bundle: Path, **options: Any) -> Done:  # noqa: ANN401
    """IMAGE_RGB, whose result has the size of the trained scale, with other fields."""
    name = driver.open(bundle)
    size = (IMAGE_RGB.shape[0] * 4, IMAGE_RGB.shape[1] * 4)
    return driver.upscaled(name, IMAGE_RGB, options, out_size=size)


def refuse(answer: dict[str, str], status: int, *words: str) -> None:
    """It has the status and one line that says something."""
    assert int(answer["status"]) == status, answer
    message = answer["message"]
    assert 10 < len(message) < 1000
    assert "<control>" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_are_refused(case: str, carn_like_bundle: Path, driver: Driver) -> None:
    options, status = REFUSED[case]
    refuse(upscaled(driver, carn_like_bundle, **options).answer, status)
    assert upscaled(driver, carn_like_bundle).status == OK


@pytest.mark.parametrize("field", ["tile_px", "threads", "memory_bytes"])
def test_options_of_opening_are_refused(field: str, carn_like_bundle: Path, driver: Driver) -> None:
    for value in {"tile_px": [15, -1], "threads": [-1, 257], "memory_bytes": []}[field]:
        answer, _ = driver.try_open(carn_like_bundle, **{field: value})
        refuse(answer, ARGUMENT, str(value))
        assert answer["handle"] == "0"


def test_sizes_of_structures_of_opening(carn_like_bundle: Path, driver: Driver) -> None:
    for size in (0, 7, 2**20):
        answer, _ = driver.try_open(carn_like_bundle, size=size)
        refuse(answer, ARGUMENT)
    refuse(driver.ask("info", name=driver.open(carn_like_bundle), size=7), ARGUMENT)
    refuse(driver.ask("info", name="nothing"), ARGUMENT)
    refuse(driver.ask("info", name=driver.open(carn_like_bundle), no_info=1), ARGUMENT)
    refuse(driver.try_open(carn_like_bundle, no_handle=1)[0], ARGUMENT)
    refuse(driver.try_open(None)[0], ARGUMENT)


def test_bundles_that_are_none(carn_like_bundle: Path, tmp_path: Path, driver: Driver) -> None:
    refuse(driver.try_open(tmp_path / "nothing")[0], BUNDLE, "nothing")
    refuse(driver.try_open(tmp_path)[0], BUNDLE)
    copy = Path(shutil.copytree(carn_like_bundle, tmp_path / "bundle"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 4}))
    refuse(driver.try_open(copy)[0], BUNDLE, "4")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "fp32" / "backbone.onnx").write_bytes(b"damaged")
    refuse(driver.try_open(copy)[0], BUNDLE, "backbone.onnx")
    for precision, words in (
        ("int8", "pcsr-calibrate"),
        ("fp16", "fp16"),
        ("nonsense", "nonsense"),
    ):
        answer, _ = driver.try_open(carn_like_bundle, precision=precision)
        assert int(answer["status"]) in (ARGUMENT, BUNDLE)
        assert words in answer["message"]


def test_other_libraries_are_no_onnxruntime(
    carn_like_bundle: Path, tmp_path: Path, driver: Driver
) -> None:
    (tmp_path / "text.so").write_text("no library")
    for path in (tmp_path / "nothing.so", tmp_path / "text.so", "libm.so.6"):
        answer, _ = driver.try_open(carn_like_bundle, onnxruntime=path)
        refuse(answer, BACKEND)


def test_values_of_float_images(carn_like_bundle: Path, driver: Driver) -> None:
    for value in (np.nan, np.inf, -1.5, 2.5, 255):
        for channels in (3, 4):
            image = random_image((9, 9), channels, "float32")
            image[3, 4, channels - 1] = value
            done = driver.upscaled(driver.open(carn_like_bundle), image)
            refuse(done.answer, IMAGE)


def test_images_too_large_are_refused(carn_like_bundle: Path, driver: Driver) -> None:
    done = upscaled(driver, carn_like_bundle, width=2**31 - 1, height=2**31 - 1, row_stride=0)
    assert done.status in (ARGUMENT, IMAGE)
    answer = driver.ask("size", name=driver.open(carn_like_bundle), width=2**30, height=3, scale=4)
    refuse(answer, ARGUMENT)


def test_input_and_output_must_not_overlap(carn_like_bundle: Path, driver: Driver) -> None:
    done = driver.upscaled(driver.open(carn_like_bundle), IMAGE_RGB, {"scale": 1, "overlap": 1})
    refuse(done.answer, ARGUMENT, "overlap")


def test_rows_of_images_with_alpha_are_refused(carn_like_bundle: Path, driver: Driver) -> None:
    image = random_image((9, 9), 4)
    done = driver.upscaled(driver.open(carn_like_bundle), image, rows=True)
    refuse(done.answer, ARGUMENT, "alpha")


def test_a_plain_network_has_no_routing(plain_bundle: Path, driver: Driver) -> None:
    for options in ({"k": 1}, {"routing": 1}, {"routing": 2}, {"scale": 2}):
        refuse(upscaled(driver, plain_bundle, **options).answer, ARGUMENT)
    done = driver.upscaled(driver.open(plain_bundle), IMAGE_RGB, maps=True)
    refuse(done.answer, ARGUMENT)


def test_structures_of_later_versions_are_taken(carn_like_bundle: Path, driver: Driver) -> None:
    """They are larger; what this version does not know of has to be zero."""
    sizes = {"struct_size": 200, "out_struct_size": 200, "options_size": 300}
    assert upscaled(driver, carn_like_bundle, **sizes, statistics_size=4400).status == OK
    refuse(upscaled(driver, carn_like_bundle, **sizes, tail=1).answer, ARGUMENT)
    assert driver.try_open(carn_like_bundle, size=200)[0]["status"] == "0"
    refuse(driver.try_open(carn_like_bundle, size=200, tail=1)[0], ARGUMENT)


def test_nothing_but_the_image_is_needed(carn_like_bundle: Path, driver: Driver) -> None:
    expected = upscaler_of(carn_like_bundle)(IMAGE_RGB).image
    done = upscaled(driver, carn_like_bundle, no_options=1, no_statistics=1)
    assert done.status == OK
    assert np.array_equal(done.image, expected)
    assert driver.try_open(carn_like_bundle, no_options=1)[0]["status"] in ("0", str(BACKEND))


def test_information(carn_like_bundle: Path, plain_bundle: Path, driver: Driver) -> None:
    for bundle in (carn_like_bundle, plain_bundle):
        upscaler = upscaler_of(bundle)
        model = upscaler.bundle.manifest.model
        answer = driver.ask("info", name=driver.open(bundle))
        assert answer["status"] == "0"
        assert float(answer["scale"]) == upscaler.scale
        assert int(answer["upsamplers"]) == (upscaler.bundle.upsamplers if model.upsamplers else 0)
        assert int(answer["receptive_radius_px"]) == model.receptive_radius_px
        assert (answer["threads"], answer["precision"]) == ("2", "fp32")
        assert answer["instructions"] == instructions()
        assert answer["onnxruntime"][:2] == "1."


@pytest.mark.parametrize("scale", [0, 1, 2.5, 1.1, 3.3, 1000])
def test_sizes_of_results(scale: float, carn_like_bundle: Path, driver: Driver) -> None:
    name = driver.open(carn_like_bundle)
    for width, height in ((1, 1), (13, 5), (7, 25), (45, 15)):
        answer = driver.ask("size", name=name, width=width, height=height, scale=scale)
        expected = [round(side * (scale or 4)) for side in (width, height)]
        assert [int(answer["width"]), int(answer["height"])] == expected


def test_cancelled_runs(carn_like_bundle: Path, driver: Driver) -> None:
    refuse(upscaled(driver, carn_like_bundle, cancel_ms=0).answer, CANCELLED)


def test_runs_are_cancelled_from_another_thread(carn_like_bundle: Path, driver: Driver) -> None:
    cancel_from_another_thread(driver, carn_like_bundle, (700, 800))


def cancel_from_another_thread(driver: Driver, bundle: Path, size: tuple[int, int]) -> None:
    """It cancels after a quarter of the time that a whole run took, or sooner where the next one is
    that much faster.
    """
    image = random_image(size)
    name = driver.open(bundle, tile_px=32)
    whole = float(driver.upscaled(name, image).answer["total_ms"])
    for share in (0.25, 0.05, 0.01, 0.002):
        done = driver.upscaled(name, image, {"cancel_ms": whole * share})
        if done.status != OK:
            break
    refuse(done.answer, CANCELLED)


def test_rows_cancel_runs(carn_like_bundle: Path, plain_bundle: Path, driver: Driver) -> None:
    image = random_image((300, 200))
    for bundle in (carn_like_bundle, plain_bundle):
        done = driver.upscaled(driver.open(bundle), image, {"cancel_row": 0}, rows=True)
        refuse(done.answer, CANCELLED)
        assert int(done.answer["rows_end"]) <= 1200


@pytest.mark.parametrize("opening", [{}, {"executor": "threads"}, {"threads": 1}], ids=str)
def test_eight_threads_call_one_handle(
    opening: dict[str, Any], carn_like_bundle: Path, driver: Driver
) -> None:
    name = driver.open(carn_like_bundle, **opening)
    options: list[dict[str, Any]] = [
        {},
        {"scale": 2.5},
        {"routing": 1},
        {"routing": 2, "heavy_ratio": 0.3},
        {"k": 1},
        {"scale": 1},
        {"routing": 2, "heavy_ratio": 0.7, "scale": 3},
        {"refine": 2},
    ]
    images = [random_image((30 + 7 * i, 61 - 5 * i), 1 + i % 4) for i in range(8)]
    jobs = [Job(name, image, given) for image, given in zip(images, options, strict=True)]
    alone = [driver.together([job])[0] for job in jobs]
    for job, first, done in zip(jobs, alone, driver.together(jobs, repeats=4), strict=True):
        assert done.status == OK, done.message
        assert done.answer["differs"] == "0"
        assert np.array_equal(done.image, first.image), job


def test_the_callers_executor_does_the_work(carn_like_bundle: Path, driver: Driver) -> None:
    for executor in ("threads", "backwards"):
        _, name = driver.try_open(carn_like_bundle, executor=executor)
        driver.upscaled(name, random_image((200, 200)))
        assert int(driver.ask("info", name=name)["loops"]) > 0
        assert driver.ask("close", name=name)["status"] == "0"
