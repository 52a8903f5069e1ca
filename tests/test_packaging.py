"""What is installed: every folder, the commands, and a start without torch."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pcsr

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NATIVE = ROOT / "runtime" / "cpu" / "native"  # what the compiled module is made of
PARTS = ("calibration", "export", "models", "runtime", "training")
HOSTS = ("batch", "tritonserver", "vapoursynth")


def packages_on_disk() -> set[str]:
    files = [f for part in PARTS for f in (ROOT / part).rglob("__init__.py")]
    folders = {f.parent.relative_to(ROOT).as_posix().replace("/", ".") for f in files}
    own = (f for f in (ROOT / "pcsr").glob("*/__init__.py") if not f.parent.is_symlink())
    folders |= {f.parent.name for f in own}
    hosts = (f for host in HOSTS for f in (ROOT / "hosts" / host).rglob("__init__.py"))
    folders |= {f.parent.relative_to(ROOT / "hosts").as_posix().replace("/", ".") for f in hosts}
    return {"pcsr", *(f"pcsr.{name}" for name in folders)}


def test_every_package_is_listed() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_on_disk()


def test_links_lead_to_the_folders() -> None:
    for part in PARTS:
        assert (ROOT / "pcsr" / part).resolve() == ROOT / part
    for host in HOSTS:
        assert (ROOT / "pcsr" / host).resolve() == ROOT / "hosts" / host


def test_the_checkout_finds_its_compiled_passes() -> None:
    code = "from pcsr.runtime.cpu import _pixels; print(_pixels.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert Path(done.stdout.strip()).resolve().parent == ROOT / "runtime" / "cpu"


def test_version_is_stated_once() -> None:
    assert PROJECT["project"]["version"] == pcsr.__version__


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    assert "-cp311-abi3-" in wheel.name  # the compiled module holds to the stable ABI
    names = set(zipfile.ZipFile(wheel).namelist())
    for part in PARTS:
        for file in (ROOT / part).rglob("*.py"):
            is_module = NATIVE not in file.parents
            assert (f"pcsr/{file.relative_to(ROOT).as_posix()}" in names) == is_module
    for host in HOSTS:
        for file in (ROOT / "hosts" / host).rglob("*.py"):
            assert f"pcsr/{file.relative_to(ROOT / 'hosts').as_posix()}" in names
    for file in (ROOT / "pcsr" / "images").glob("*.py"):
        assert f"pcsr/images/{file.name}" in names
    page = {f"pcsr/runtime/profiler/report/page.{kind}" for kind in ("html.j2", "css")}
    data = {"pcsr/manifest.schema.json", "pcsr/calibration/evaluation/quoted.toml"}
    assert page | data | {"pcsr/py.typed"} <= names
    assert any(re.fullmatch(r"pcsr/runtime/cpu/_pixels\.\S*(so|pyd)", name) for name in names)
    assert not any(name.startswith(("hosts/", "models/", "runtime/", "tests/")) for name in names)


def install_without_a_compiler(
    folder: Path, compiler: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Installs a copy of the checkout to folder/there."""
    tree = folder / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "tests", "_pixels*", "cache", "results", "demo")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-deps", "--target"]
    return subprocess.run(
        [*command, str(folder / "there"), str(tree)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CC": compiler} | variables,
    )


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["/bin/false", "/nowhere/cc"])
def test_without_a_compiler_it_installs_with_a_note(tmp_path: Path, compiler: str) -> None:
    done = install_without_a_compiler(tmp_path, compiler)
    assert done.returncode == 0, done.stderr
    assert "pcsr's compiled passes were not built" in done.stdout + done.stderr
    tags = next((tmp_path / "there").glob("*.dist-info/WHEEL")).read_text()
    assert "Tag: py3-none-any\n" in tags  # nothing in it is of this machine
    code = (
        "from pcsr.runtime.backends import choose_backend as choose\n"
        "print(choose('auto', 'cpu', 'fp32', None))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "there")},
    )
    assert shown.stdout == "onnxruntime\n"
    assert "installed without its compiled passes" in shown.stderr


@pytest.mark.slow
def test_packagers_can_require_the_compiled_passes(tmp_path: Path) -> None:
    done = install_without_a_compiler(tmp_path, "/bin/false", PCSR_REQUIRE_PASSES="1")
    assert done.returncode == 1
    assert "/bin/false" in done.stdout + done.stderr
    assert not (tmp_path / "there").exists()


@pytest.mark.slow
def test_the_source_distribution_holds_all_that_its_build_needs(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml"} <= names
    for file in NATIVE.iterdir():
        if file.suffix in (".py", ".c", ".h"):
            assert file.relative_to(ROOT).as_posix() in names


@pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
def test_commands_answer_help(command: str) -> None:
    module, _, function = PROJECT["project"]["scripts"][command].partition(":")
    code = f"import sys; from {module} import {function}; {function}(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_importing_pcsr_imports_neither_torch_nor_a_backend() -> None:
    code = "import sys, pcsr; print({'torch', 'onnx', 'onnxruntime', 'pyvips'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
