"""What is measured in processes of its own."""

from pathlib import Path

import numpy as np
import pytest

from pcsr.errors import BackendError, ImageError
from pcsr.runtime.profiler.cases import Engine, Spec
from pcsr.runtime.profiler.ceilings import measure_ceilings
from pcsr.runtime.profiler.cold import first_use
from pcsr.runtime.profiler.pictures import Picture

PICTURE = Picture("p", np.zeros((8, 9, 3), np.uint8))


def test_the_first_use_of_a_bundle(carn_like_bundle: Path) -> None:
    spec = Spec("a", Engine(str(carn_like_bundle), threads=1), "pcsr", "ADM", 4, PICTURE)
    found = first_use(spec)
    assert found.open_ms is not None
    assert found.open_ms > 1
    assert found.first_ms > 0
    assert found.peak_mib is None or 20 < found.peak_mib < 500


def test_a_first_use_that_fails_is_one_line(tmp_path: Path) -> None:
    spec = Spec("a, 8x9", Engine(str(tmp_path)), "pcsr", "ADM", 4, PICTURE)
    with pytest.raises(ImageError, match=r"a, 8x9: a call in a process of its own failed:.*bundle"):
        first_use(spec)


def test_ceilings_are_measured() -> None:
    found = measure_ceilings(1, sizes=(64, 128), copy_bytes=2**20)
    assert found.gflop_s > 0.1
    assert found.gb_s > 0.1
    assert found.half_gflop_s is None


def test_ceilings_that_fail_say_so() -> None:
    with pytest.raises(BackendError, match="the ceilings of this machine cannot be measured"):
        measure_ceilings(1, sizes=(-1,))
