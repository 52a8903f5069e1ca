"""What a process holds stays flat over 8,000 mixed calls; `make soak` makes 10,000 per backend."""

from collections import Counter
from pathlib import Path

import pytest

from .run import Soak, soak

CALLS = 8000
WAYS_OUT = {"done", "streamed", "cancelled", "refused", "its taker failed", "opened and closed"}


@pytest.mark.slow
def test_memory_threads_and_files_stay_flat(carn_like_bundle: Path) -> None:
    found = soak(carn_like_bundle, "native", CALLS)
    assert found.faults() == []
    assert set(found.ended) == WAYS_OUT
    assert found.ended.total() == CALLS


def test_what_grows_is_seen() -> None:
    flat = {"resident_mib": 90.0, "kept_mib": 60.0, "threads": 3, "tasks": 5, "files": 7}
    assert Soak([flat] * 20, Counter()).faults() == []
    growing = [flat | {"resident_mib": 90 + 2.0 * part} for part in range(20)]
    assert "memory grew" in Soak(growing, Counter()).faults()[0]
    hoarding = [flat | {"kept_mib": 60 + 2.0 * part} for part in range(20)]
    assert "used again grew from 60.0 to 98.0" in Soak(hoarding, Counter()).faults()[0]
    leaking = [flat | {"files": 7 + part} for part in range(20)]
    assert "files changes" in Soak(leaking, Counter()).faults()[0]
