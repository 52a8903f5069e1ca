"""Libraries in parts, and what comes out of them again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.environment import ROOT
from benchmarks.pack import libraries
from benchmarks.pack.libraries import compress, pack_libraries
from pcsr.errors import BackendError

PART = 10_000


def packed(pack: Path) -> list[Path]:
    content = pack.with_name("content")
    (content / "deep").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, 35_000, dtype=np.uint8)
    (content / "deep" / "library.so").write_bytes(noise.tobytes())
    (content / "module.py").write_text("x = 1\n")
    return compress(content, pack / libraries.FOLDER, PART)


def unpack(pack: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.pack.unpack", str(pack)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_parts_are_small_and_give_the_same_files_again(tmp_path: Path) -> None:
    parts = packed(tmp_path / "pack")
    assert [part.name for part in parts] == [f"part-0{number}" for number in range(len(parts))]
    assert [part.stat().st_size for part in parts[:-1]] == [PART] * (len(parts) - 1)
    assert 3 < len(parts) < 6
    assert unpack(tmp_path / "pack").returncode == 0
    for name in ("deep/library.so", "module.py"):
        found = tmp_path / "pack" / "libraries" / name
        assert found.read_bytes() == (tmp_path / "content" / name).read_bytes()


@pytest.mark.parametrize("missing", ["first", "middle", "last", "all"])
def test_a_missing_part_is_one_line(tmp_path: Path, missing: str) -> None:
    parts = packed(tmp_path / "pack")
    chosen = {"first": parts[:1], "middle": parts[1:2], "last": parts[-1:], "all": parts}
    for part in chosen[missing]:
        part.unlink()
    done = unpack(tmp_path / "pack")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "missing or damaged" in done.stderr


def test_libraries_that_are_not_installed_cannot_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "INSTALLED", ("no-such-package-here",))
    with pytest.raises(BackendError, match="no-such-package-here is not installed"):
        pack_libraries(tmp_path, "3.12", lambda text: None)
    assert not list(tmp_path.iterdir())
