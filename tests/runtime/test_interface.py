"""What the public names offer beside a call: representations, files, warm-ups, the log."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pcsr
from pcsr import ImageError, OutputError, Upscaler, UsageError, images, upscale_file
from pcsr.export.inspection.report import inspect_file
from pcsr.runtime.files.video import VideoStats

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def upscaler(carn_like_bundle: Path) -> Upscaler:
    return Upscaler(carn_like_bundle, threads=1)


def test_the_public_names_are_listed() -> None:
    assert dir(pcsr) == sorted(pcsr.__all__)
    assert {"Upscaler", "Result", "upscale_file", "Bundle", "PcsrError"} <= set(dir(pcsr))
    assert all(getattr(pcsr, name) is not None for name in dir(pcsr))


def test_representations_are_one_short_line(upscaler: Upscaler) -> None:
    path = upscaler.bundle.path
    assert repr(upscaler) == f"<pcsr.Upscaler of {path}: x4, native on cpu, fp32>"
    assert (upscaler.scale, upscaler.device) == (4, "cpu")
    assert repr(upscaler(IMAGE, 2, heavy_ratio=0.25)) == (
        "<pcsr.Result: 24x18, ndarray of uint8, 25.0% heavy>"
    )
    assert repr(upscaler(torch.from_numpy(IMAGE))).startswith(
        "<pcsr.Result: 48x36, Tensor of uint8"
    )


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_a_result_is_saved(upscaler: Upscaler, tmp_path: Path, channels: int | None) -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 12, channels or 1), np.uint8)
    result = upscaler(image if channels else image[..., 0], 2)
    result.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), result.image.squeeze())
    with pytest.raises(OutputError, match="exists"):
        result.save(str(tmp_path / "a.png"))
    result.save(str(tmp_path / "a.png"), overwrite=True)


def test_tensors_and_foreign_byte_orders_are_saved(upscaler: Upscaler, tmp_path: Path) -> None:
    deep = (IMAGE.astype(">u2")) * 257
    expected = upscaler(deep)
    expected.save(tmp_path / "a.png")
    assert np.array_equal(images.read(tmp_path / "a.png", 10**6).pixels, expected.image)
    upscaler(torch.from_numpy(IMAGE)).save(tmp_path / "b.webp", quality=100)
    found = images.read(tmp_path / "b.webp", 10**6).pixels
    assert np.array_equal(found, upscaler(IMAGE).image)
    with pytest.raises(UsageError, match="quality"):
        expected.save(tmp_path / "c.jpg", quality=101)


def test_an_image_file_is_upscaled(upscaler: Upscaler, tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(IMAGE).save(source)
    stats = upscale_file(upscaler, source, target, 2.5, heavy_ratio=0.5)
    expected = upscaler(IMAGE, 2.5, heavy_ratio=0.5)
    assert np.array_equal(np.asarray(Image.open(target)), expected.image)
    assert stats.pixels_per_upsampler == expected.stats.pixels_per_upsampler
    (tmp_path / "folder").mkdir()
    upscale_file(upscaler.bundle.path, str(source), str(tmp_path / "folder"))
    assert images.read(tmp_path / "folder/a.png", 10**6).pixels.shape == (36, 48, 3)
    with pytest.raises(OutputError, match="exists"):
        upscale_file(upscaler, source, target)
    with pytest.raises(UsageError, match="is the source itself"):
        upscale_file(upscaler, source, source, overwrite=True)
    with pytest.raises(UsageError, match=r"expected one of .*\.png"):
        upscale_file(upscaler, source, tmp_path / "c.xyz")
    with pytest.raises(ImageError, match="cannot read"):
        upscale_file(upscaler, tmp_path / "missing.png", tmp_path / "c.png")
    with pytest.raises(UsageError, match="quality must be from 1 to 100, found 'a'"):
        upscale_file(upscaler, source, tmp_path / "c.jpg", quality="a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown option 'foo'"):
        upscale_file(upscaler, source, tmp_path / "c.jpg", foo=1)  # type: ignore[call-arg]


def test_a_video_file_is_upscaled(upscaler: Upscaler, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.runtime.files import videos

    stats = upscale_file(upscaler, videos.video(tmp_path / "a.mp4", 3), tmp_path / "b.mkv", crf=30)
    assert isinstance(stats, VideoStats)
    assert stats.frames == 3
    assert stats.hr_size == (4 * videos.SIZE[0], 4 * videos.SIZE[1])
    assert (tmp_path / "b.mkv").stat().st_size > 0


@pytest.mark.parametrize("backend", ["native", "onnxruntime", "torch"])
def test_a_warm_up_pays_and_changes_nothing(carn_like_bundle: Path, backend: str) -> None:
    upscaler = Upscaler(carn_like_bundle, backend=backend, threads=1)
    upscaler.warmup((9, 12), 2, adaptive=True)
    for channels in (1, 2, 4):
        upscaler.warmup((9, 12), channels=channels, dtype="float32")
    expected = Upscaler(carn_like_bundle, backend=backend, threads=1)(IMAGE, 2, adaptive=True)
    assert np.array_equal(upscaler(IMAGE, 2, adaptive=True).image, expected.image)
    assert upscaler.kept_shapes == (2 if backend == "torch" else 0)


def test_the_log_says_what_was_chosen(
    carn_like_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger("pcsr").handlers)
    with caplog.at_level(logging.DEBUG, "pcsr"):
        Upscaler(carn_like_bundle, threads=2, tile_px=32)(IMAGE)
    assert logging.getLogger("pcsr").handlers == handlers
    opened, *call = [record.getMessage() for record in caplog.records]
    assert "native on cpu, fp32, passes native (" in opened
    assert "threads 2, tiles of 32 px" in opened
    assert any("1 bands, 1 tiles" in line for line in call)
    assert caplog.records[0].levelno == logging.INFO


def test_the_library_installs_no_handler_and_is_quiet(
    carn_like_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Upscaler(carn_like_bundle, threads=1)(IMAGE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_tiles_of_a_bundle_for_whole_images_are_refused(
    backend: str, plain_bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "whole"
    shutil.copytree(plain_bundle, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["model"]["receptive_radius_px"] = None
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UsageError, match=r"whole is for whole images: .*leave out --tile"):
        Upscaler(copy, backend=backend, tile_px=32)
    Upscaler(copy, backend=backend).close()
    assert (
        inspect_file(copy).tiling.reason
        == "the bundle was exported for whole images (--whole-image)"
    )
