"""What the benchmark calls is what the runtime computes."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.callers import Files, Place, open_caller
from benchmarks.contenders import IN_ONE_FILE, Contender
from pcsr import Upscaler


@pytest.mark.parametrize("contender", IN_ONE_FILE, ids=lambda contender: str(contender.name))
def test_one_file_in_a_session_of_its_own(carn_like_bundle: Path, contender: Contender) -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    files = Files(str(carn_like_bundle), "", "", "")
    found = open_caller(contender.implementation, files, Place(threads=1))(image, {}).image
    is_adaptive = contender.name.endswith("adm")
    expected = Upscaler(carn_like_bundle)(image, 4, adaptive=is_adaptive).image
    assert np.abs(found.astype(int) - expected).max() <= 1
