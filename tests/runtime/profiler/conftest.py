"""What a run takes that is not under test: quick ceilings, and no process per case."""

import pytest

from pcsr.runtime.profiler import callers, ceilings
from pcsr.runtime.profiler.cases import Spec
from pcsr.runtime.profiler.cold import FirstUse
from pcsr.runtime.profiler.record import Ceilings

ROOF = Ceilings(100.0, 10.0)
FIRST = FirstUse(first_ms=7.0, peak_mib=50.0, open_ms=30.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither measures ceilings nor first uses."""

    def first(spec: Spec) -> FirstUse:
        return FIRST

    monkeypatch.setattr(ceilings, "measure_ceilings", lambda threads: ROOF)
    monkeypatch.setattr(callers, "first_use", first)
