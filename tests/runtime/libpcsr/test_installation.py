"""The library as it is installed: found, linked and moved; its symbols, structures and flags."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pcsr

from . import building
from .building import PROGRAMS, ROOT, SOURCE, run

STRICT = ("-Wall", "-Wextra", "-pedantic", "-Werror")
C99 = ("cc", "-std=c99", *STRICT)
CXX17 = ("c++", "-std=c++17", *STRICT)
HEADER = SOURCE / "include" / "pcsr" / "pcsr.h"
NEEDED = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libcrypto.so.3"}


def flags(prefix: Path) -> list[str]:
    """What pkg-config says of the library under a prefix."""
    (file,) = prefix.rglob("pcsr.pc")
    found = run("pkg-config", "--cflags", "--libs", "pcsr", PKG_CONFIG_PATH=str(file.parent))
    assert run("pkg-config", "--modversion", file).strip() == pcsr.__version__
    return [*found.split(), "-pthread"]


def library(prefix: Path) -> Path:
    (found,) = prefix.rglob("libpcsr.so.0")
    return found


def declared() -> set[str]:
    """The functions of the header."""
    return set(re.findall(r"^PCSR_API[^;(]*?(pcsr_\w+)\(", HEADER.read_text(), re.MULTILINE))


def test_nothing_but_the_headers_functions_is_exported(libpcsr: Path) -> None:
    lines = run("nm", "-D", "--defined-only", library(libpcsr)).splitlines()
    found = {line.split()[-1] for line in lines if " A " not in line}
    assert found == {f"{name}@@PCSR_0" for name in declared()}
    assert len(found) == 11


def test_what_the_library_needs(libpcsr: Path) -> None:
    """ONNX Runtime is not among it, and no path of the machine that built it is in it."""
    dynamic = run("readelf", "-d", library(libpcsr))
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    assert {name for name in needed if not name.startswith("ld-linux")} <= NEEDED
    assert re.findall(r"SONAME.*\[(.*)\]", dynamic) == ["libpcsr.so.0"]
    assert "RUNPATH" not in dynamic
    assert "RPATH" not in dynamic
    assert os.fsencode(str(ROOT)) not in library(libpcsr).read_bytes()


def test_versions_are_one() -> None:
    parts = re.findall(r"#define PCSR_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", HEADER.read_text())
    assert ".".join(parts) == pcsr.__version__


@pytest.mark.parametrize("compiler", [C99, (*CXX17, "-x", "c++")], ids=["C99", "C++17"])
def test_structures_keep_their_places(
    compiler: tuple[str, ...], libpcsr: Path, tmp_path: Path
) -> None:
    """Compiled with what pkg-config says."""
    made = tmp_path / "abi"
    run(*compiler, PROGRAMS / "abi.c", "-x", "none", "-o", made, *flags(libpcsr))
    found = run(made, LD_LIBRARY_PATH=str(library(libpcsr).parent))
    assert found.strip() == pcsr.__version__


def test_programs_are_compiled_with_pkg_config(
    libpcsr: Path, carn_like_bundle: Path, onnxruntime_library: Path, tmp_path: Path
) -> None:
    run(*C99, PROGRAMS / "driver.c", "-o", tmp_path / "driver", *flags(libpcsr))
    made = tmp_path / "header"
    run(*CXX17, PROGRAMS / "header.cpp", "-o", made, *flags(libpcsr))
    where = str(library(libpcsr).parent)
    assert "holds" in run(made, carn_like_bundle, onnxruntime_library, LD_LIBRARY_PATH=where)


def test_the_header_for_cxx(
    carn_like_bundle: Path, onnxruntime_library: Path, libpcsr: Path
) -> None:
    """Compiled with what find_package says."""
    assert libpcsr.is_dir()
    assert "holds" in run(building.program("header"), carn_like_bundle, onnxruntime_library)


def test_the_installation_may_be_moved(libpcsr: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(libpcsr, tmp_path / "elsewhere" / "pcsr", symlinks=True))
    options = (f"-DCMAKE_PREFIX_PATH={moved}", "-B", tmp_path / "build")
    run("cmake", "-S", PROGRAMS, *options)
    run("cmake", "--build", tmp_path / "build", "--target", "driver")
    loaded = run("ldd", tmp_path / "build" / "driver")
    assert str(moved) in loaded
    assert all(str(moved) in flag for flag in flags(moved)[:2])
    for file in moved.rglob("*.cmake"):
        assert str(libpcsr) not in file.read_text()


@pytest.mark.parametrize(
    ("package", "debian"),
    [("nlohmann_json", "nlohmann-json3-dev"), ("OpenSSL", "libssl-dev")],
)
def test_a_missing_package_is_named(
    package: str, debian: str, libpcsr: Path, tmp_path: Path
) -> None:
    assert libpcsr.is_dir()
    hidden = f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON"
    done = subprocess.run(
        ["cmake", "-S", str(SOURCE), "-B", str(tmp_path), hidden],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"libpcsr needs {package} (Debian: apt install {debian})" in done.stderr


def test_headers_alone_suffice(libpcsr: Path, tmp_path: Path) -> None:
    """Each can be the first that a program includes."""
    for name, compiler in (("pcsr.h", C99), ("pcsr.h", CXX17), ("pcsr.hpp", CXX17)):
        source = tmp_path / ("one.c" if compiler == C99 else "one.cpp")
        source.write_text(f"#include <pcsr/{name}>\n#include <pcsr/pcsr.h>\nint unused;\n")
        run(*compiler, "-c", source, "-o", tmp_path / "one.o", f"-I{libpcsr / 'include'}")
