"""The programs of docs/embedding.md, compiled from the page's own text, do what it says."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from pcsr.runtime.upscaler import Upscaler

from .building import ROOT, run
from .equality import random_image, upscaler_of
from .test_installation import C99, CXX17, flags, library

PAGE = ROOT / "docs" / "embedding.md"
IMAGE = random_image((31, 43))
PPM = b"P6\n43 31\n255\n" + IMAGE.tobytes()


def programs(language: str) -> list[str]:
    """The programs of a language on the page."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "main(" in block]


def compiled(language: str, prefix: Path, folder: Path) -> Path:
    """The page's first program of a language, against the library in a prefix."""
    source = folder / f"program.{language}"
    source.write_text(programs(language)[0])
    compiler = C99 if language == "c" else CXX17
    run(*compiler, source, "-o", folder / "program", *flags(prefix))
    return folder / "program"


def upscaled(
    program: Path,
    bundle: Path,
    prefix: Path,
    onnxruntime: Path,
    output: IO[bytes] | int = subprocess.PIPE,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program on the PPM; its result goes to `output`."""
    env = {"LD_LIBRARY_PATH": str(library(prefix).parent), "PCSR_ONNXRUNTIME": str(onnxruntime)}
    return subprocess.run(
        [program, bundle],
        input=PPM,
        env=os.environ | env,
        stdout=output,
        stderr=subprocess.PIPE,
        check=False,
    )


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_programs_upscale(
    language: str, libpcsr: Path, carn_like_bundle: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    program = compiled(language, libpcsr, tmp_path)
    done = upscaled(program, carn_like_bundle, libpcsr, onnxruntime_library)
    assert done.returncode == 0, done.stderr
    expected = upscaler_of(carn_like_bundle)(IMAGE).image
    assert done.stdout == b"P6\n172 124\n255\n" + expected.tobytes()


def test_nothing_is_left_in_the_home_folder(
    libpcsr: Path,
    carn_like_bundle: Path,
    onnxruntime_library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime keeps a device id there, where its telemetry is not switched off."""
    program, home = compiled("c", libpcsr, tmp_path), tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    done = upscaled(program, carn_like_bundle, libpcsr, onnxruntime_library)
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_programs_say_that_a_result_is_not_written(
    language: str, libpcsr: Path, carn_like_bundle: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    program = compiled(language, libpcsr, tmp_path)
    with Path("/dev/full").open("wb") as full:
        done = upscaled(program, carn_like_bundle, libpcsr, onnxruntime_library, full)
    assert done.returncode == 1
    assert done.stderr.decode().strip()


def test_a_program_with_python_inside(carn_like_bundle: Path, tmp_path: Path) -> None:
    where, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY")
    include = sysconfig.get_paths()["include"]
    if not (Path(include) / "Python.h").exists() or not name.endswith(".so"):
        pytest.skip("this Python has no headers, or no shared library")
    source = tmp_path / "embedded.cpp"
    source.write_text(programs("cpp")[1])
    more = ("-DPY_SSIZE_T_CLEAN", f"-I{include}", f"-L{where}", f"-Wl,-rpath,{where}")
    linked = f"-l{name.removeprefix('lib').removesuffix('.so')}"
    run("c++", "-std=c++17", *more, source, "-o", tmp_path / "embedded", linked)
    found = run(tmp_path / "embedded", sys.executable, carn_like_bundle)
    grey = np.full((48, 64, 3), 128, np.uint8)
    assert found.strip() == f"{Upscaler(carn_like_bundle)(grey).image.nbytes} bytes"


def test_the_commands_of_the_page_name_what_is_there() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("cmake")]
    assert len(commands) == 4
    for command in (commands[0], commands[3]):
        assert (ROOT / command.split()[2] / "CMakeLists.txt").exists()
    assert all("build/libpcsr/release" in command for command in commands[:3])
