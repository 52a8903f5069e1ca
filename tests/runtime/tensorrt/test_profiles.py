"""Which sizes engines are built for."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pcsr import Bundle, UsageError
from pcsr.runtime.tensorrt.profiles import (
    MOST_ELEMENTS,
    ShapeProfile,
    Shapes,
    Size,
    choose_profile,
    format_size,
    input_limits,
    row_limits,
)

MANY = 2**31


@pytest.mark.parametrize(
    ("shapes", "most", "expected"),
    [
        (Shapes(), MANY, ((1, 1), (540, 960), (1920, 1920))),
        (Shapes(), 1448 * 1448 + 5, ((1, 1), (540, 960), (1448, 1448))),
        (Shapes(), 300 * 300, ((1, 1), (300, 300), (300, 300))),
        (Shapes.static((270, 480)), MANY, ((270, 480),) * 3),
        (Shapes(max=(128, 4000)), MANY, ((1, 1), (128, 960), (128, 4000))),
        (Shapes(opt=(2160, 3840)), MANY, ((1, 1), (2160, 3840), (2160, 3840))),
        (Shapes(min=(1000, 8)), MANY, ((1000, 8), (1000, 960), (1920, 1920))),
    ],
)
def test_what_is_left_out_is_chosen(
    shapes: Shapes, most: int, expected: tuple[Size, Size, Size]
) -> None:
    assert choose_profile(shapes, most).image_sizes == expected


@pytest.mark.parametrize(
    ("shapes", "most", "pattern"),
    [
        (Shapes(min=(9, 1), opt=(8, 8)), MANY, "1x9.*8x8.*must not shrink"),
        (Shapes(opt=(8, 9), max=(8, 8)), MANY, "9x8.*8x8.*must not shrink"),
        (Shapes(max=(101, 100)), 10_000, "100x101 has 10100 pixels.*allows 10000.*--max-shape"),
        (Shapes.static((101, 100)), 10_000, "allows 10000"),
        (Shapes(opt=(101, 100)), 10_000, "allows 10000"),
    ],
)
def test_what_cannot_be(shapes: Shapes, most: int, pattern: str) -> None:
    with pytest.raises(UsageError, match=pattern):
        choose_profile(shapes, most)


def test_portrait_fits_by_default() -> None:
    height, width = choose_profile(Shapes(), MANY).max
    assert height == width


def test_a_profile_asked_for_again_is_the_same() -> None:
    profile = choose_profile(Shapes(opt=(300, 400)), MANY)
    assert choose_profile(Shapes(*profile.image_sizes), MANY) == profile


def test_rows_follow_the_image() -> None:
    profile = ShapeProfile((2, 3), (4, 5), (6, 7), rows_opt=8, rows_max=9)
    assert profile.pixel_counts == (6, 20, 42)
    assert profile.row_counts == (0, 8, 9)


def test_rows_with_four_neighbours_are_a_quarter() -> None:
    profile = ShapeProfile((2, 3), (4, 5), (6, 7), rows_opt=80, rows_max=400)
    for name, one, four in (("index", (), (4,)), ("offset", (2,), (4, 2))):
        assert input_limits(name, (-1, *one), profile) == [(n, *one) for n in (0, 80, 400)]
        assert input_limits(name, (-1, *four), profile) == [(n, *four) for n in (0, 20, 100)]
    assert input_limits("features", (-1, 16), profile) == [(n, 16) for n in (6, 20, 42)]


def test_which_images_it_takes() -> None:
    profile = ShapeProfile((2, 3), (4, 5), (6, 7))
    assert [profile.takes(size) for size in [(2, 3), (6, 7), (6, 3)]] == [True] * 3
    assert not any(profile.takes(size) for size in [(1, 3), (2, 2), (7, 7), (6, 8)])


def test_row_limits_respect_the_widest_mlp(three_way_bundle: Path) -> None:
    model = Bundle.load(three_way_bundle).manifest.model
    pixels, rows = row_limits(model)
    assert pixels == MOST_ELEMENTS // 16
    assert rows * 16 <= MOST_ELEMENTS
    wide = replace(model, upsamplers=(replace(model.upsamplers[0], widths=(5000,)),))
    assert row_limits(wide) == (MOST_ELEMENTS // 5000, MOST_ELEMENTS // 5000)
    profile = choose_profile(Shapes(), *row_limits(wide))
    assert math.prod(profile.max) * 5000 <= MOST_ELEMENTS
    assert profile.rows_max * 5000 <= MOST_ELEMENTS


def test_sizes_are_height_and_width() -> None:
    assert format_size((540, 960)) == "960x540"
