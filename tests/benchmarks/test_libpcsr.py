"""benchmarks.libpcsr: it calls the library rightly and prints a row for each case."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks.libpcsr.__main__ import main
from benchmarks.libpcsr.library import LibraryUpscaler
from pcsr import Upscaler
from tests.runtime.libpcsr import building
from tests.runtime.libpcsr.equality import random_image


def library() -> Path:
    (found,) = building.installed().rglob("libpcsr.so.0")
    return found


def test_the_library_computes_what_upscaler_does(carn_like_bundle: Path) -> None:
    image = random_image((20, 31))
    where = (library(), carn_like_bundle, building.onnxruntime_library())
    with LibraryUpscaler(*where, threads=2) as opened:
        found = opened.prepared(image, 4)()
        done = opened.statistics
    expected = Upscaler(carn_like_bundle, backend="native", threads=2)(image)
    assert np.array_equal(found, expected.image)
    assert tuple(done.pixels[:2]) == expected.stats.pixels_per_upsampler
    assert done.total_ms > done.backbone_ms > 0


def test_it_prints_a_row_for_each_case(carn_like_bundle: Path) -> None:
    arguments = [str(carn_like_bundle), "--library", str(library()), "--rounds", "2"]
    done = CliRunner().invoke(main, [*arguments, "--size", "16x12", "--size", "32x32"])
    assert done.exit_code == 0, done.output
    rows = [line.split("|") for line in done.output.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["open, first 32x32", "16x12", "32x32"]
    assert all(float(row[index]) > 0 for row in rows for index in (2, 3, 4))
