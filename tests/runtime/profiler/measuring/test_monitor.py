"""What others compute is what is left of the machine's time."""

import subprocess
import sys

import pytest

from pcsr.runtime.profiler.measuring.monitor import Load, foreign_cores


def test_own_time_is_not_foreign() -> None:
    assert foreign_cores(Load(0, 1, 100), Load(10, 16, 130)) == 1.5
    assert foreign_cores(Load(0, 1, 100), Load(10, 21, 119)) == 0


def test_unknown_stays_unknown() -> None:
    assert foreign_cores(Load(0, 0, None), Load(10, 5, None)) is None
    assert foreign_cores(Load(0, 0, 1), Load(0, 0, 1)) is None


def test_another_process_is_noticed() -> None:
    before = Load.now()
    if before.busy_s is None:
        pytest.skip("this system does not say how busy it is")
    spin = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    after = Load.now()
    found = foreign_cores(before, after)
    assert found is not None
    assert found * (after.wall_s - before.wall_s) > 0.3
