"""What a run takes that is not under test: quick ceilings, and no process per case."""

from typing import Any

import pytest

from pcsr.runtime.profiler import opened
from pcsr.runtime.profiler.measuring import ceilings
from pcsr.runtime.profiler.measuring.ceilings import Ceilings
from pcsr.runtime.profiler.measuring.first_use import FirstUse

ROOF = Ceilings(100.0, 10.0)
FIRST = FirstUse(first_ms=7.0, peak_mib=50.0, open_ms=30.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither measures ceilings nor first uses."""

    def first(*request: Any) -> FirstUse:  # noqa: ANN401
        return FIRST

    monkeypatch.setattr(ceilings, "measure_ceilings", lambda threads: ROOF)
    monkeypatch.setattr(opened, "first_use", first)
