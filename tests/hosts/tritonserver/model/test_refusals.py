"""Bad requests get an error of their own; what is the server's fault is logged; it serves on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.images import Picture, write_bytes
from tests.hosts.tritonserver.stand_in import Loaded, load
from tests.runtime.routing.calibrations import calibrated

IMAGE = np.zeros((6, 8, 3), np.uint8)
PNG = write_bytes(Picture(IMAGE), ".png")
LARGE = np.zeros((70, 70, 1), np.uint8)


@pytest.fixture(scope="module")
def loaded(three_way_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    limits: dict[str, Any] = {
        "max_input_pixels": 4000,
        "max_output_pixels": 50_000,
        "max_encoded_mib": 1,
    }
    found = load(three_way_bundle, tmp_path_factory.mktemp("models") / "three", **limits)
    yield found
    found.model.finalize()


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ({}, (), "expected exactly one of IMAGE, IMAGE_UINT16, IMAGE_FP32, ENCODED, found none"),
        (
            {"IMAGE": IMAGE, "ENCODED": PNG},
            (),
            "expected exactly one of IMAGE, IMAGE_UINT16, IMAGE_FP32, ENCODED, found IMAGE and "
            "ENCODED",
        ),
        (
            {"ENCODED": b""},
            (),
            "cannot read the image: expected PNG, JPEG, .*, found an empty file; .*",
        ),
        ({"ENCODED": b"%PDF-1.7"}, (), "cannot read the image: .* found PDF; convert it first"),
        (
            {"ENCODED": PNG[:60]},
            (),
            r"cannot read the image: damaged, incomplete or of a rare kind \(.*\); copy or save it "
            "again",
        ),
        (
            {"ENCODED": write_bytes(Picture(LARGE[..., 0]), ".png")},
            (),
            "cannot read the image: expected at most 4000 pixels, found 70x70 = 4900; send a "
            "smaller one",
        ),
        ({"ENCODED": bytes(2**20 + 1)}, (), "expected an encoded image of at most 1 MiB, .*"),
        ({"IMAGE": LARGE}, (), "expected an image of at most 4000 pixels, found 70x70 = 4900; .*"),
        (
            {"IMAGE": IMAGE, "SCALE": 60.0},
            (),
            "expected an output of at most 50000 pixels, found 480x360 = 172800; .*",
        ),
        (
            {"IMAGE": IMAGE[:0]},
            (),
            r"expected an image \[height, width, 1 to 4\], found shape \[0, 8, 3\]",
        ),
        ({"IMAGE": np.zeros((4, 4, 5), np.uint8)}, (), r"expected an image .* \[4, 4, 5\].*"),
        ({"IMAGE_FP32": np.full((4, 4, 3), np.nan, np.float32)}, (), "the image holds NaN or .*"),
        ({"IMAGE": IMAGE, "SCALE": 0.5}, (), "scale must be a number from 1 to 1000, found 0.5"),
        ({"IMAGE": IMAGE, "SCALE": np.nan}, (), "scale must be a number from 1 to 1000, found nan"),
        ({"IMAGE": IMAGE, "K": np.inf}, (), "k must be a number within .*"),
        ({"IMAGE": IMAGE, "HEAVY_RATIO": 1.5}, (), r"heavy_ratio must lie in \[0, 1\], found 1.5"),
        ({"IMAGE": IMAGE, "K": 1.0, "ADAPTIVE": True}, (), "k is not used with adaptive or .*"),
        (
            {"IMAGE": IMAGE, "SCALE": np.ones(2)},
            (),
            r"SCALE must have the shape \[1\], found \[2\]",
        ),
        ({"IMAGE": IMAGE, "PRESET": b"\xff"}, (), "PRESET must be text in UTF-8"),
        (
            {"IMAGE": IMAGE, "PRESET": b"fast"},
            (),
            "this model is not calibrated; leave PRESET, BUDGET_MS and MAX_PSNR_LOSS_DB out",
        ),
        ({"IMAGE": IMAGE, "BUDGET_MS": 5.0}, (), "this model is not calibrated; leave .* out"),
        ({"IMAGE": IMAGE, "MAX_PSNR_LOSS_DB": 0.1}, (), "this model is not calibrated; .* out"),
        ({"IMAGE": IMAGE, "TIMEOUT_MS": -1.0}, (), "TIMEOUT_MS must be a number of .*, found -1.0"),
        (
            {"IMAGE": IMAGE, "OUTPUT_FORMAT": b"gif"},
            (),
            "OUTPUT_FORMAT must be one of png, jpeg, webp, tiff, found 'gif'",
        ),
        (
            {"IMAGE": IMAGE, "OUTPUT_FORMAT": b"png", "QUALITY": 101},
            (),
            "QUALITY must be from 1 to 100, found 101",
        ),
        ({"IMAGE": IMAGE, "QUALITY": 50}, (), "QUALITY is for an encoded image, and none .*"),
        ({"IMAGE": IMAGE, "OUTPUT_FORMAT": b"png"}, ("RESULT",), "OUTPUT_FORMAT is for an .*"),
        (
            {"IMAGE": IMAGE},
            ("RESULT_FP32", "HEAVY_SHARE"),
            "the image has pixels of uint8, which come back as RESULT, found RESULT_FP32 asked for",
        ),
        ({"ENCODED": PNG}, ("RESULT_UINT16",), "the image has pixels of uint8, .*"),
        (
            {"IMAGE": np.zeros((4, 4, 4), np.uint8), "OUTPUT_FORMAT": b"jpeg"},
            (),
            "cannot encode the result: JPEG has no alpha; write PNG, TIFF or WebP",
        ),
        (
            {"IMAGE": np.zeros((1, 20, 3), np.uint8), "SCALE": 900.0, "OUTPUT_FORMAT": b"webp"},
            (),
            "expected an output of at most 50000 pixels, .*",
        ),
    ],
)
def test_a_client_s_mistake_is_told_in_one_line(
    inputs: dict[str, Any], outputs: tuple[str, ...], text: str, loaded: Loaded
) -> None:
    code, found = loaded.refusal(inputs, *outputs)
    assert code == "INVALID_ARG"
    assert re.fullmatch(text, found), found
    assert "\n" not in found
    assert "RESULT" in loaded.answer({"IMAGE": IMAGE})
    assert [kind for kind, _ in loaded.log.lines] == ["info"]


def test_a_calibration_that_does_not_help_is_told_without_advice_for_operators(
    three_way_bundle: Path, tmp_path: Path
) -> None:
    found = load(calibrated(three_way_bundle, tmp_path / "calibrated", []), tmp_path / "m")
    code, text = found.refusal({"IMAGE": IMAGE, "PRESET": b"x" * 100_000})
    assert (code, text[:60]) == ("INVALID_ARG", f"there is no preset '{'x' * 39}…")
    assert len(text) < 150
    assert found.refusal({"IMAGE": IMAGE, "BUDGET_MS": 5.0}) == (
        "INVALID_ARG",
        "no time was measured for this model; leave BUDGET_MS out",
    )
    found.model.finalize()


def test_unknown_parameters_are_refused(loaded: Loaded) -> None:
    code, text = loaded.refusal({"IMAGE": IMAGE}, given_parameters={"scale": "4"})
    assert code == "INVALID_ARG"
    assert text.startswith("unknown request parameter 'scale'; options are input tensors (SCALE, ")


def test_what_a_format_cannot_hold_is_known_before_the_computation(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upscaler, "run", lambda *_: pytest.fail("it was computed"))
    given = {"ENCODED": write_bytes(Picture(np.zeros((4, 4, 4), np.uint8)), ".png")}
    code, text = loaded.refusal({**given, "OUTPUT_FORMAT": b"jpeg"})
    assert (code, text.partition(":")[0]) == ("INVALID_ARG", "cannot encode the result")


def test_the_server_s_fault_is_logged_and_it_serves_on(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(three_way_bundle, tmp_path / "m")

    def fail(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise RuntimeError(f"secret of {tmp_path}")

    with monkeypatch.context() as patched:
        patched.setattr(Upscaler, "run", fail)
        sentence = "the server failed on this request; its log says why"
        assert found.refusal({"IMAGE": IMAGE}) == ("INTERNAL", sentence)
    kind, text = found.log.lines[-1]
    assert kind == "error"
    assert "Traceback" in text
    assert f"RuntimeError: secret of {tmp_path}" in text
    assert "RESULT" in found.answer({"IMAGE": IMAGE})
    found.model.finalize()
    assert found.metrics.values["pcsr_requests_total", "failed"] == 1


def test_out_of_memory_is_no_client_s_mistake(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise MemoryError

    logged = len(loaded.log.lines)
    monkeypatch.setattr(Upscaler, "run", fail)
    code, text = loaded.refusal({"IMAGE": IMAGE})
    assert (code, text.partition(";")[0]) == ("UNAVAILABLE", "the server is out of memory")
    del loaded.log.lines[logged:]
