"""Folders of photos: what is held, what is read when it is drawn, and the same draws both ways."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcsr import ImageError, UsageError
from pcsr.images import Picture, write
from pcsr.training.data import Batches, open_source, stream
from pcsr.training.sources import photos as module
from pcsr.training.sources.photos import FolderPhotos, image_files
from tests.training import tiny


def folder(path: Path, *sides: int) -> Path:
    path.mkdir()
    random = np.random.default_rng(0)
    for number, side in enumerate(sides):
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        write(Picture(pixels), path / f"{number}.png")
    return path


@pytest.fixture
def read_when_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders as those of a million files."""
    monkeypatch.setattr(module, "MOST_LOOKED_THROUGH", 0)


def batches(tmp_path: Path, root: Path, *overrides: str) -> Batches:
    override = f"train_dataset.dataset.args.root_path={root}"
    data = tiny.config(tmp_path, 2, override, *overrides).data
    return Batches(open_source(data), data, 10, (0,))


def test_large_folders_draw_as_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "many", *range(16, 40))
    held = batches(tmp_path, root)
    monkeypatch.setattr(module, "MOST_LOOKED_THROUGH", 0)
    drawn = batches(tmp_path, root)
    for index in (0, 3, 9):
        for one, other in zip(held[index], drawn[index], strict=True):
            assert torch.equal(one, other)


@pytest.mark.usefixtures("read_when_drawn")
def test_photos_that_are_too_small_are_drawn_again(tmp_path: Path) -> None:
    root = folder(tmp_path / "mixed", 4, 20, 5, 21, 6)
    first, again = batches(tmp_path, root), batches(tmp_path, root)
    for index in range(10):
        assert torch.equal(first[index][0], again[index][0])


@pytest.mark.usefixtures("read_when_drawn")
def test_one_large_photo_among_many_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcsr.training.data.DRAWS", 1)
    root = folder(tmp_path / "small", 4, 4, 4, 16, 4, 4)
    made = batches(tmp_path, root)
    for index in range(10):
        assert made[index][0].shape == (2, 3, 8, 8)


@pytest.mark.usefixtures("read_when_drawn")
def test_a_folder_without_a_large_photo_ends_with_the_same_line(tmp_path: Path) -> None:
    made = batches(tmp_path, folder(tmp_path / "small", 4, 15))
    with pytest.raises(UsageError, match="no training photo is at least 16 px wide and high"):
        made[0]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.usefixtures("read_when_drawn")
def test_a_file_that_cannot_be_read_is_one_line(workers: int, tmp_path: Path) -> None:
    root = folder(tmp_path / "spoilt", 20)
    (root / "1.png").write_bytes((root / "0.png").read_bytes()[:200])
    made = batches(tmp_path, root)
    with pytest.raises(ImageError, match=r"cannot read .*1\.png") as refusal:
        list(stream(made, 0, 10, workers, reads_files=True))
    assert "\n" not in str(refusal.value)


def test_what_does_not_fit_memory_is_read_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = image_files(folder(tmp_path / "many", *[10] * 8))
    one = 10 * 10 * 3
    monkeypatch.setattr(module, "available_bytes", lambda: int(3.5 * one))
    reads: list[str] = []
    read = module.read_photo

    def counted(path: str) -> module.Photo:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(module, "read_photo", counted)
    photos = FolderPhotos(paths)
    assert reads == paths  # once at the beginning
    for number in (4, 5, 4, 5):
        photos[number]
    assert reads[8:] == [paths[4], paths[5]]  # two fit
    photos[6]
    photos[5]
    photos[4]
    assert reads[10:] == [paths[6], paths[4]]  # 4 had not been asked for the longest
    assert photos.reads_files
    assert photos.sizes == [(10, 10)] * 8


def test_what_fits_memory_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = FolderPhotos(image_files(folder(tmp_path / "few", 10, 12)))
    monkeypatch.setattr(module, "read_photo", lambda path: pytest.fail(f"{path} is read"))
    assert [photos[number].shape for number in (0, 1, 0)] == [(10, 10, 3), (12, 12, 3), (10, 10, 3)]
    assert not photos.reads_files


@pytest.mark.usefixtures("read_when_drawn")
def test_a_large_folder_is_not_read_when_a_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "many", 20, 20)
    monkeypatch.setattr(module, "read_photo", lambda path: pytest.fail(f"{path} is read"))
    batches(tmp_path, root)
