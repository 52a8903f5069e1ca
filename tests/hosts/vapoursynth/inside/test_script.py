"""Scripts through vspipe, and the example of the docstring."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcsr import Upscaler
from pcsr.vapoursynth import upscale

BIN = Path(sys.executable).parent
SCRIPT = """
import vapoursynth as vs
from pcsr.vapoursynth import upscale

clip = vs.core.std.BlankClip(format=vs.RGB24, width=40, height=27, length=6, color=[90, 10, 200])
upscale(clip, {bundle!r}, scale=2.5, heavy_ratio=0.25).set_output()
"""
DOCUMENT = Path(__file__).parents[4] / "docs" / "vapoursynth.md"


def piped(tmp_path: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs vspipe, with a configuration of its own."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "config").mkdir(exist_ok=True)
    configured = [str(BIN / "vapoursynth"), "config"]
    subprocess.run(configured, check=True, capture_output=True, env=environment)
    (tmp_path / "script.vpy").write_text(script)
    return subprocess.run(
        [str(BIN / "vspipe"), *arguments],
        capture_output=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("requests", ["1", "8"])
def test_vspipe(shipped: str, tmp_path: Path, requests: str) -> None:
    script = SCRIPT.format(bundle=shipped)
    done = piped(tmp_path, script, "--requests", requests, "script.vpy", "out.rgb")
    assert done.returncode == 0, done.stderr.decode()
    assert b"Output 6 frames" in done.stderr
    image = np.full((27, 40, 3), (90, 10, 200), np.uint8)
    expected = Upscaler(shipped)(image, 2.5, heavy_ratio=0.25).image
    written = np.fromfile(tmp_path / "out.rgb", np.uint8).reshape(6, 3, 68, 100)
    for green, blue, red in written:  # the order of vspipe
        assert np.array_equal(np.dstack([red, green, blue]), expected)


def test_vspipe_says_what_is_wrong(tmp_path: Path) -> None:
    done = piped(tmp_path, SCRIPT.format(bundle="nowhere"), "script.vpy", "out.rgb")
    assert done.returncode == 1
    said = done.stderr.decode()
    assert "pcsr: nowhere is not a bundle (no manifest.json); make one with pcsr-export" in said


def test_the_script_of_the_document(shipped: str, tmp_path: Path) -> None:
    """Of a clip of YUV, without a source filter, which would be another package."""
    script = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
    source = 'core.lsmas.LWLibavSource("in.mkv")'
    assert source in script
    blank = "core.std.BlankClip(format=vs.YUV420P8, width=64, height=48, length=4)"
    shutil.copytree(shipped, tmp_path / "carn-pcsr")
    done = piped(tmp_path, script.replace(source, blank), "-c", "y4m", "script.vpy", "out.y4m")
    assert done.returncode == 0, done.stderr.decode()
    header = (tmp_path / "out.y4m").read_bytes().partition(b"\n")[0]
    assert header.startswith(b"YUV4MPEG2 C420 W160 H120 ")


def test_the_example_of_the_docstring(
    shipped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shipped, "carn-pcsr")
    test = doctest.DocTestParser().get_doctest(upscale.__doc__ or "", {}, "upscale", None, None)
    assert test.examples
    said: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
