"""The rules that keep the rooms apart: who imports whom, where click may be, how full folders are.

docs/architecture.md draws the same rooms.
"""

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "pcsr": "pcsr",
    "models": "pcsr.models",
    "runtime": "pcsr.runtime",
    "export": "pcsr.export",
    "calibration": "pcsr.calibration",
    "training": "pcsr.training",
    "hosts/batch": "pcsr.batch",
    "hosts/tritonserver": "pcsr.tritonserver",
    "hosts/vapoursynth": "pcsr.vapoursynth",
    "benchmarks": "benchmarks",
    "examples": "examples",
}
# From the ground up: a module may import what stands above it in this list, and its own line.
ROOMS = """
pcsr.errors pcsr.version pcsr.interrupts
pcsr.text pcsr.extras pcsr.entry pcsr.atomic pcsr.schema
pcsr.reading
pcsr.images pcsr.metrics pcsr.overlay pcsr.vectors pcsr.manifest pcsr.bundle pcsr.amend
pcsr.single_file
pcsr.cli
pcsr.models
pcsr.runtime.inputs.arguments
pcsr.runtime.process
pcsr.runtime.machine pcsr.runtime.timing pcsr.runtime.layout pcsr.runtime.devices
pcsr.runtime.shutdown
pcsr.runtime.inputs
pcsr.runtime.geometry
pcsr.runtime.mlps pcsr.runtime.backends pcsr.runtime.onnxruntime_session
pcsr.runtime.graph_outputs pcsr.runtime.trials
pcsr.runtime.routing
pcsr.runtime.result
pcsr.runtime.executor
pcsr.runtime.kernels.cuda
pcsr.runtime.kernels
pcsr.runtime.kernels.convolutions
pcsr.runtime.torch_backend
pcsr.runtime.tensorrt
pcsr.runtime.cpu
pcsr.runtime.gpu.runners
pcsr.runtime.gpu
pcsr.runtime.open
pcsr.runtime.parts
pcsr.runtime.sequence
pcsr.runtime.upscaler
pcsr.runtime.together
pcsr pcsr.runtime
pcsr.runtime.profiler.measuring
pcsr.runtime.profiler.record
pcsr.runtime.profiler.report
pcsr.batch.storage
pcsr.runtime.profiler pcsr.runtime.files pcsr.batch pcsr.runtime.doctor
pcsr.export.graphs
pcsr.export.verification
pcsr.export.single_file
pcsr.export
pcsr.export.inspection
pcsr.calibration.work_file pcsr.calibration.images
pcsr.calibration.evaluation
pcsr.calibration.precision pcsr.calibration.operating_point
pcsr.calibration
pcsr.training
pcsr.vapoursynth pcsr.tritonserver
pcsr.__main__
benchmarks
examples
"""
FLOORS = {room: floor for floor, line in enumerate(ROOMS.split("\n")) for room in line.split()}
COMMANDS = {
    "pcsr.__main__",
    "benchmarks.bench",
    "benchmarks.libpcsr.__main__",
    "benchmarks.liif.__main__",
    "benchmarks.serving.__main__",
    "benchmarks.sequences.__main__",
    "benchmarks.small_calls.__main__",
    "benchmarks.gpu",
    "benchmarks.gpu_pack",
    "benchmarks.expected",
    "benchmarks.kernels",
    "benchmarks.scale.__main__",
    "examples.demo",
    "examples.serving.demo",
}
MOST_FILES = 14
FACES = {"pcsr", "pcsr.runtime"}  # their modules have places of their own
LAZY = {  # loaded when first asked for
    ("pcsr", "pcsr.bundle"),
    ("pcsr", "pcsr.runtime.files.single"),
    ("pcsr", "pcsr.runtime.upscaler"),
}


@cache
def modules() -> dict[str, Path]:
    """Gives every module of the product, by its import name."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            if any(parent.is_symlink() for parent in path.parents if ROOT in parent.parents):
                continue
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """Gives all that a module imports, within functions too, by full names."""
    path, found = modules()[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {full if full in modules() else base for full in names}
    return frozenset(other for other in found if (name, other) not in LAZY)


def graph() -> dict[str, set[str]]:
    """Gives the imports between the product's modules."""
    return {name: {other for other in imported(name) if other in modules()} for name in modules()}


def room(name: str) -> str:
    """Gives the room of ROOMS that a module lies in: the longest one that its name begins with."""
    within = [r for r in FLOORS if name == r or (name.startswith(f"{r}.") and r not in FACES)]
    assert within, f"{name} lies in no room: give it a place in ROOMS and in docs/architecture.md"
    return max(within, key=len)


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_what_stands_below_it(name: str) -> None:
    here = FLOORS[room(name)]
    upward = [other for other in graph()[name] if FLOORS[room(other)] > here]
    assert not upward, f"{name} imports {', '.join(upward)}, which stand above it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = graph()
    while grounded := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in grounded}
    assert not left, f"circles within {sorted(left)}"


def is_command(name: str) -> bool:
    return name in COMMANDS or "cli" in name.split(".")


def test_click_stays_in_the_files_of_commands() -> None:
    users = {name for name in modules() if "click" in {i.split(".")[0] for i in imported(name)}}
    assert {name for name in users if not is_command(name)} == set()


def test_no_library_module_imports_a_command() -> None:
    found = {
        (name, other)
        for name, others in graph().items()
        for other in others
        if is_command(other) and not is_command(name)
    }
    assert found == set()


def test_the_product_never_imports_its_tests() -> None:
    assert not {name for name in modules() if any(i.startswith("tests") for i in imported(name))}


def test_no_folder_is_a_corridor() -> None:
    files = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    full = {str(folder.relative_to(ROOT)): n for folder, n in files.items() if n > MOST_FILES}
    assert full == {}
