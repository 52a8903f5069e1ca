"""The objects of the instruction sets: what they show, and NEON's beside those of this machine."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import tolerances

from . import native

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).parent / "passes_program.c"
PIXELS = 7 * 19 * 16
CROSS = {
    "gcc": ("aarch64-linux-gnu-gcc",),
    "clang": ("clang", "--target=aarch64-linux-gnu"),
}
SHOWN = {
    "passes_generic": {"pcsr_generic"},
    "passes_avx2": {"pcsr_avx2"},
    "passes_avx512": {"pcsr_avx512"},
    "passes_avx512_bf16": {"pcsr_avx512_bf16"},
    "instructions": {"pcsr_features"},
}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_objects_show_nothing_that_another_could_take(compiler: str, tmp_path: Path) -> None:
    """A function with AVX-512 in it, taken for one of the same name elsewhere, would end pcsr on
    other processors.
    """
    for program in (compiler, "nm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
    chooser = tmp_path / "chooser.c"
    chooser.write_text(native.CHOOSER)
    for made in native.objects(tmp_path, chooser, [compiler], native.FLAGS["every"]):
        if made.stem == chooser.stem:
            continue
        command = ["nm", "--defined-only", "--extern-only", "--format=posix", str(made)]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        assert {line.split()[0] for line in listed.stdout.splitlines()} == SHOWN[made.stem]


def test_features_are_those_that_the_system_reports() -> None:
    from pcsr.runtime.cpu import passes

    if platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists():
        pytest.skip("only Linux on x86-64 lists them so")
    flags = next(
        set(line.split())
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("flags")
    )
    avx512 = {"avx512f", "avx512vl", "avx512bw", "avx512dq", "avx2", "fma"} <= flags
    expected = "avx512" if avx512 else "avx2" if {"avx2", "fma"} <= flags else "generic"
    assert passes.instructions() == expected
    assert passes.has_bf16() == (avx512 and "avx512_bf16" in flags)
    assert passes.has_vnni() == (avx512 and "avx512_vnni" in flags)


@pytest.mark.parametrize("compiler", CROSS)
def test_neon_gives_what_this_machine_gives(compiler: str, tmp_path: Path) -> None:
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None or shutil.which(CROSS["gcc"][0]) is None or shutil.which("cc") is None:
        pytest.skip("no qemu-aarch64, aarch64-linux-gnu-gcc or cc (Debian: qemu-user-static)")
    if shutil.which(CROSS[compiler][0]) is None:
        pytest.skip(f"no {compiler}")
    here, name = _run(tmp_path / "here", ("cc",), platform.machine(), [])
    assert name == native.SETS[0]
    there, name = _run(tmp_path / "there", CROSS[compiler], "aarch64", [qemu])
    assert name == "neon"
    split = PIXELS * 4 * 8  # logits, sigmoids, planes and finished pixels in float32; then bytes
    found, expected = (np.frombuffer(data[:split], np.float32) for data in (there, here))
    gap = np.abs(found - expected).max() / np.abs(expected).max()
    assert gap <= tolerances.PASSES
    assert np.isfinite(expected).all()
    assert expected[:PIXELS].std() > 0.1
    levels = [np.frombuffer(data[split:], np.uint8).astype(int) for data in (there, here)]
    assert len(levels[0]) == 3 * PIXELS
    assert np.abs(levels[0] - levels[1]).max() <= 1


def _run(
    folder: Path, compiler: tuple[str, ...], machine: str, emulator: list[str]
) -> tuple[bytes, str]:
    """What the program writes, and its instruction set."""
    folder.mkdir()
    made = native.objects(folder, PROGRAM, compiler, native.FLAGS["every"], machine)
    program = folder / "program"
    native.link(program, made, compiler, ["-static"])
    done = subprocess.run([*emulator, str(program)], check=True, capture_output=True)
    return done.stdout, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="no flags of their own elsewhere")
def test_a_compiler_that_does_not_know_a_flag_leaves_its_set_out(tmp_path: Path) -> None:
    """gcc 8, for one, has no -mavx512bf16."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    old = tmp_path / "old-gcc"
    old.write_text('#!/bin/sh\ncase "$*" in *avx512bf16*) exit 1 ;; esac\nexec gcc "$@"\n')
    old.chmod(0o755)
    folders = ["--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")]
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", *folders],
        cwd=ROOT,
        env={**os.environ, "CC": str(old)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "does not take" in done.stdout + done.stderr
    code = "import _pixels as p; print(p.ffi.string(p.lib.pcsr_instructions()).decode(), "
    code += "p.lib.pcsr_has_bf16())"
    folder = next((tmp_path / "lib").rglob("_pixels*.so")).parent
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    from pcsr.runtime.cpu import passes

    assert shown.stdout.split() == [passes.instructions(), "0"]
