"""The published preparation of training data, against a slow one that stores it all."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pcsr import UsageError
from pcsr.images import Picture, write
from pcsr.training.config import load_config
from pcsr.training.data import Batches, Order, open_source
from pcsr.training.sources.photos import FolderPhotos, HeldPhotos, Photo
from pcsr.training.sources.sub_images import FACTORS, SubImages, reduced_part, starts
from tests.training import tiny

MOST_ROUNDED_OTHERWISE = 1e-3
"""Of noise, by one level: Pillow takes positions in float32, 1e-5 px off, which is 0.002 levels
beside a step, and rounds the other way where a value is that near to a half. Of photos 2e-5."""
SIZES = [(213, 300), (257, 129), (131, 214)]


def photo(size: tuple[int, int], seed: int = 0) -> Photo:
    """Noise and steps: what shows a wrong position most."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    found[: size[0] // 2, ::7] = 255
    return found


def photos() -> list[Photo]:
    return [photo(size, seed) for seed, size in enumerate(SIZES)]


def cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def matrix(length: int, factor: float) -> np.ndarray:
    """What MATLAB's imresize multiplies a column of `length` pixels by, in float64."""
    made = np.zeros((math.ceil(length * factor), length))
    for row in range(len(made)):
        centre = (row + 0.5) / factor - 0.5
        places = np.arange(math.floor(centre - 2 / factor) - 1, math.ceil(centre + 2 / factor) + 2)
        weights = cubic((centre - places) * factor)
        for place, weight in zip(places, weights / weights.sum(), strict=True):
            inside = place
            if place < 0:
                inside = -1 - place
            elif place >= length:
                inside = 2 * length - 1 - place
            made[row, inside] += weight
    return made


def reduced(whole: Photo, factor: float) -> Photo:
    if factor == 1:
        return whole
    rows, columns = (matrix(n, factor) for n in whole.shape[:2])
    planes = np.einsum("yh,hwc,xw->yxc", rows, whole.astype(np.float64), columns, optimize=True)
    rounded: Photo = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
    return rounded


def prepared() -> list[tuple[int, int, Photo]]:
    """(photo, copy, sub-image) of all, as a folder of files would hold them."""
    found = []
    for number, whole in enumerate(photos()):
        for copy, factor in enumerate(FACTORS):
            small = reduced(whole, factor)
            if min(small.shape[:2]) < 128:
                continue
            places = []
            for length in small.shape[:2]:
                along = list(np.arange(0, length - 128 + 1, 64))
                if length - (along[-1] + 128) > 48:
                    along.append(length - 128)
                places.append(along)
            for top in places[0]:
                for left in places[1]:
                    found.append((number, copy, small[top : top + 128, left : left + 128]))
    return found


def test_all_sub_images_are_those_of_the_stored_copies() -> None:
    source, expected = SubImages(HeldPhotos(photos()), 4), prepared()
    assert len(source) == len(expected)
    assert [source.place(number)[:2] for number in range(len(source))] == [e[:2] for e in expected]
    for number, (_, _, pixels) in enumerate(expected):
        difference = np.abs(source.sub_image(number).astype(int) - pixels)
        assert difference.max() <= 1
        assert (difference > 0).mean() < MOST_ROUNDED_OTHERWISE


@pytest.mark.parametrize("factor", FACTORS[1:])
def test_a_part_does_not_depend_on_where_it_is_cut(factor: float) -> None:
    """The same pixels from another sub-image: positions are those of the copy, not of the part."""
    whole = photo((400, 420))
    one, other = reduced_part(whole, factor, 64, 0), reduced_part(whole, factor, 100, 37)
    difference = np.abs(one[36:, 37:].astype(int) - other[:-36, :-37])
    assert difference.max() <= 1
    assert (difference > 0).mean() < MOST_ROUNDED_OTHERWISE


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (127, []),
        (128, [0]),
        (176, [0]),  # 48 left over are dropped
        (177, [0, 49]),
        (192, [0, 64]),
        (300, [0, 64, 128]),
        (1356, [*range(0, 1217, 64)]),
    ],
)
def test_where_sub_images_begin(length: int, expected: list[int]) -> None:
    assert starts(length) == expected


def test_the_size_of_a_copy_is_rounded_up() -> None:
    """213 px at 0.6 are 127.8; 128 of them make one sub-image, at positions of 0.6, not 128/213."""
    source = SubImages(HeldPhotos([photo((213, 213))]), 4)
    last = source.place(len(source) - 1)
    assert last == (0, 4, 0, 0)
    expected = reduced(photo((213, 213)), 0.6)
    assert expected.shape == (128, 128, 3)
    assert np.abs(source.sub_image(len(source) - 1).astype(int) - expected).max() <= 1


def folder(path: Path) -> Path:
    path.mkdir()
    for number, pixels in enumerate(photos()):
        write(Picture(pixels), path / f"{number}.png")
    return path


def settings(tmp_path: Path, *more: str) -> list[str]:
    root = folder(tmp_path / "originals")
    return [
        f"train_dataset.dataset={{name: published-sub-images, args: {{root_path: '{root}'}}}}",
        "train_dataset.wrapper.args={inp_size: 32, scale: [4, 4], sample_q: 0, augment: []}",
        *more,
    ]


def test_each_comes_once_in_an_epoch_and_whole(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, tiny.model(2))
    data = load_config(path, settings(tmp_path)).data
    source, expected = open_source(data), prepared()
    batches = Batches(source, data, 1000, (0,))
    seen: Counter[bytes] = Counter()
    for index in range(len(expected)):  # two per batch: two epochs
        _, drawn, colours = batches[index]
        pixels = np.empty((2, 128 * 128, 3), np.uint8)
        pixels[:, drawn.numpy()] = (colours.numpy() * 255).round().astype(np.uint8)
        seen.update(part.tobytes() for part in pixels)
    assert isinstance(source, SubImages)
    assert seen == {source.sub_image(n).tobytes(): 2 for n in range(len(expected))}
    by_copy = Counter(source.place(number)[:2] for number in range(len(source)))
    assert by_copy == Counter(found[:2] for found in expected)


def test_an_order_depends_on_the_seed_and_the_turn() -> None:
    order = Order(7, (0, 1))
    epochs = [[order[turn] for turn in range(start, start + 7)] for start in (0, 7, 700)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [Order(7, (0, 1))[turn] for turn in (700, 3, 8)] == [
        epochs[2][0],
        epochs[0][3],
        epochs[1][1],
    ]
    assert [Order(7, (0, 2))[turn] for turn in range(7)] != epochs[0]


def test_smaller_patches_are_cut_at_random(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, tiny.model(2))
    config = load_config(path, settings(tmp_path, "train_dataset.wrapper.args.inp_size=8"))
    lr, _, colours = Batches(open_source(config.data), config.data, 10, (0,))[0]
    assert (lr.shape[-1], colours.shape[1]) == (8, 32 * 32)


def test_patches_larger_than_a_sub_image_are_refused(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, tiny.model(2))
    config = load_config(path, settings(tmp_path, "train_dataset.wrapper.args.inp_size=33"))
    with pytest.raises(UsageError, match="132 px does not fit a sub-image of 128 px"):
        open_source(config.data)


def test_copies_without_sub_images_are_noted_once() -> None:
    source = SubImages(HeldPhotos(photos()), 4)
    small = sum(min(math.ceil(n * f) for n in size) < 128 for size in SIZES for f in FACTORS)
    assert list(source.notes) == [
        f"{small} of 15 photos and smaller copies of them have no sub-images, as a side is below "
        "128 px"
    ]
    assert not SubImages(HeldPhotos([photo((220, 220))]), 4).notes
    with pytest.raises(UsageError, match="no training photo is at least 128 px"):
        SubImages(HeldPhotos([photo((127, 500))]), 4)


def test_photos_that_do_not_fit_memory_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(path) for path in sorted(folder(tmp_path / "o").iterdir())]
    held = SubImages(FolderPhotos(paths, look_through=True), 4)
    monkeypatch.setattr("pcsr.training.sources.photos.available_bytes", lambda: 1)
    read = SubImages(FolderPhotos(paths, look_through=True), 4)
    for number in (0, len(held) - 1, 5):
        np.testing.assert_array_equal(held.sub_image(number), read.sub_image(number))
