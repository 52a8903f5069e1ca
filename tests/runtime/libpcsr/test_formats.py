"""Every way in which a program may hold pixels gives the pixels of `Upscaler`."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from .driver import Driver, Job, between_rows_untouched
from .equality import random_image, upscaler_of
from .pixels import DENSE, FORMATS, Form

FORMS = {
    "dense": DENSE,
    "bgr": Form(bgr=True),
    "planar": Form(planar=True),
    "planar bgr": Form(bgr=True, planar=True),
    "padded": Form(row_padding=5),
    "bottom up": Form(bottom_up=True),
    "bottom up, padded, bgr": Form(bgr=True, row_padding=3, bottom_up=True),
    "planar, padded": Form(planar=True, row_padding=7, plane_padding=11),
    "planar, bottom up": Form(planar=True, row_padding=2, plane_padding=1, bottom_up=True),
}
SIZE = (19, 26)
each_dtype = pytest.mark.parametrize("dtype", FORMATS)
each_channels = pytest.mark.parametrize("channels", [1, 2, 3, 4])


@each_dtype
@each_channels
def test_any_form_of_either_image(
    dtype: str, channels: int, carn_like_bundle: Path, driver: Driver
) -> None:
    image = random_image(SIZE, channels, dtype)
    expected = upscaler_of(carn_like_bundle)(image, scale=2.5).image
    name = driver.open(carn_like_bundle)
    pairs = [*itertools.product([DENSE], FORMS.values()), *itertools.product(FORMS.values(), [DENSE])]
    pairs += list(zip(FORMS.values(), reversed(FORMS.values()), strict=True))
    jobs = [Job(name, image, {"scale": 2.5}, form, out) for form, out in pairs]
    for job, done in zip(jobs, driver.together(jobs), strict=True):
        assert done.status == 0, done.message
        assert np.array_equal(done.image, expected), job
        assert between_rows_untouched(done.memory, job.out_form, done.image), job


@each_dtype
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bundle", ["carn_like_bundle", "plain_bundle", "liif_bundle"])
def test_rows_by_callback(
    dtype: str, channels: int, bundle: str, request: pytest.FixtureRequest, driver: Driver
) -> None:
    path: Path = request.getfixturevalue(bundle)
    image = random_image((45, 31), channels, dtype)
    expected = upscaler_of(path)(image).image
    name = driver.open(path)
    for form in FORMS.values():
        done = driver.upscaled(name, image, {}, DENSE, form, rows=True)
        assert done.status == 0, done.message
        assert done.answer["rows_wrong"] == "0"
        assert np.array_equal(done.image, expected)
        order = [2, 1, 0] if form.bgr and channels == 3 else list(range(channels))
        assert done.rows is not None
        assert np.array_equal(done.rows[..., order], expected)


@pytest.mark.parametrize("form", FORMS)
def test_rows_without_a_whole_output(form: str, carn_like_bundle: Path, driver: Driver) -> None:
    """They have the order and the layout of the input."""
    image = random_image((45, 31))
    expected = upscaler_of(carn_like_bundle)(image).image
    name = driver.open(carn_like_bundle)
    options = {"out_bytes": None, "out_order": int(FORMS[form].bgr)}
    done = driver.upscaled(name, image, options, FORMS[form], rows=True)
    assert done.status == 0, done.message
    assert done.answer["rows_wrong"] == "0"
    assert done.rows is not None
    assert np.array_equal(done.rows[..., ::-1] if FORMS[form].bgr else done.rows, expected)


def test_a_plain_network_gives_rows_in_any_form_with_alpha_whole(
    plain_bundle: Path, driver: Driver
) -> None:
    image = random_image((21, 17), 4)
    expected = upscaler_of(plain_bundle)(image).image
    for form in FORMS.values():
        done = driver.upscaled(driver.open(plain_bundle), image, {}, form, form)
        assert done.status == 0, done.message
        assert np.array_equal(done.image, expected)
