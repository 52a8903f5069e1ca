"""Some hundred mutated files of each format: refused in one line, or used with a right result.

`make fuzz` runs thousands.
"""

from pathlib import Path

import pytest

from . import originals, sanitized, supervisor
from .formats import FORMATS, Format

CASES = {"manifest": 150, "npz": 150, "onnx": 200, "checkpoint": 200, "config": 200, "image": 400}


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return originals.write(tmp_path_factory.mktemp("fuzz") / "originals")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sanitized.build(tmp_path_factory.mktemp("sanitized"))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_no_mutation_crashes_hangs_or_leaves_a_trace(
    form: Format, valid_files: Path, library: Path
) -> None:
    cases = range(CASES[form.name])
    used = library if form.computes else None
    tally = supervisor.run(form.name, valid_files, cases, used)
    assert not tally.failures
    assert tally.counts["refused"] > len(cases) / 10
    assert tally.counts["ran"] > len(cases) / 100


def test_the_supervisor_sees_what_it_looks_for(valid_files: Path) -> None:
    tally = supervisor.run("selftest", valid_files, range(6))
    assert [tally.failures.get(number, "")[:9] for number in range(6)] == [
        "",
        "",
        "wrong Val",
        "died with",
        "wrong mem",
        "wrong tex",
    ]
    assert tally.counts == {"ran": 1, "refused": 1, "failed": 4}
