"""Images written row by row: the file that `write` makes of the whole, or none."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pcsr import images
from pcsr.errors import ImageError, OutputError
from pcsr.images import Metadata, Picture

from .pictures import PROFILE

SIZE = (301, 517)
MAX_PIXELS = 10**7


def _picture(dtype: str = "uint8", channels: int = 3) -> Picture:
    shape = (*SIZE, channels) if channels > 1 else SIZE
    peak = np.iinfo(dtype).max
    pixels: NDArray[np.generic] = np.random.default_rng(0).integers(0, peak, shape).astype(dtype)
    return Picture(pixels, Metadata(resolution=(5.0, 7.0)))


def _write_rows(picture: Picture, path: Path, overwrite: bool = False, step: int = 37) -> None:
    with images.row_writer(picture, SIZE, path, overwrite) as take:
        for first in range(0, SIZE[0], step):
            take(picture.pixels[first : first + step])


def _write_until(error: BaseException | None, path: Path, blocks: int = 1) -> None:
    picture = _picture()
    with images.row_writer(picture, SIZE, path, overwrite=True) as take:
        for _ in range(blocks):
            take(picture.pixels[:100])
        if error is not None:
            raise error


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_holds_the_rows_and_the_metadata(
    suffix: str, dtype: str, channels: int, tmp_path: Path
) -> None:
    picture, path = _picture(dtype, channels), tmp_path / f"rows{suffix}"
    _write_rows(picture, path)
    found = images.read(path, MAX_PIXELS)
    assert found.pixels.dtype == picture.pixels.dtype
    assert np.array_equal(found.pixels, picture.pixels)
    assert found.metadata.resolution == pytest.approx((5.0, 7.0), rel=1e-2)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_metadata_is_that_of_the_whole_picture(suffix: str, tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0" + bytes(4)
    chunks = ((b"tEXt", b"parameters\0a cat"),) if suffix == ".png" else ()
    known = Metadata(exif=exif, icc=PROFILE, resolution=(5.0, 7.0), chunks=chunks)
    picture = Picture(_picture().pixels, known)
    _write_rows(picture, tmp_path / f"rows{suffix}")
    images.write(picture, tmp_path / f"whole{suffix}")
    rows, whole = (images.read(tmp_path / f"{n}{suffix}", MAX_PIXELS) for n in ("rows", "whole"))
    assert rows.metadata == whole.metadata
    assert rows.metadata.exif is not None
    upright = rows.metadata.exif.removeprefix(b"Exif\0\0")
    assert upright == exif[6:24] + b"\1" + exif[25:]
    assert (rows.metadata.icc, rows.metadata.chunks) == (PROFILE, chunks)


def test_jpeg_is_that_of_the_whole_picture(tmp_path: Path) -> None:
    picture = _picture()
    _write_rows(picture, tmp_path / "rows.jpg")
    images.write(picture, tmp_path / "whole.jpg")
    rows, whole = (images.read(tmp_path / f"{n}.jpg", MAX_PIXELS).pixels for n in ("rows", "whole"))
    assert np.array_equal(rows, whole)


def test_tiff_is_tiled_and_big(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    _write_rows(_picture(), tmp_path / "rows.tif")
    with tifffile.TiffFile(tmp_path / "rows.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled


def test_an_error_while_computing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half-way"):
        _write_until(RuntimeError("half-way"), tmp_path / "rows.tif")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.png"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        _write_until(KeyboardInterrupt(), path)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_missing_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        _write_until(None, tmp_path / "rows.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to be a full disk")
def test_a_full_disk_ends_the_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda self, mode: io.FileIO("/dev/full", "r+"))
    with pytest.raises(OutputError, match="disk full"):
        _write_until(None, tmp_path / "rows.tif", blocks=1000)
    assert not list(tmp_path.iterdir())


def test_existing_and_unfit_files_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.png"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match="exists"), images.row_writer(_picture(), SIZE, path):
        raise AssertionError("not refused")
    wide = (10, 70_000)
    with (
        pytest.raises(ImageError, match="at most 65500"),
        images.row_writer(_picture(), wide, tmp_path / "a.jpg"),
    ):
        raise AssertionError("not refused")
