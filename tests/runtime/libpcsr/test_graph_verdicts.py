"""The library takes the ONNX files that Python takes, and knows the same of them."""

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pcsr.reading.shape_rules import RULES
from tests import checkpoints
from tests.exports import ALL_PRECISIONS, Exports

from .graph_mutations import mutated_graph
from .graph_verdicts import REFUSED, of_library, of_python
from .random_graphs import random_graph

Programs = Callable[[str], Path]
MUTATED, RANDOM = 400, 800
IMAGE_SIZES = ((1, 1), (37, 53), (64, 48))


@pytest.fixture(scope="module")
def program(libpcsr_program: Programs) -> Path:
    return libpcsr_program("read_graph")


@pytest.fixture(scope="module")
def graphs(exports: Exports, quantised_bundle: Path) -> list[Path]:
    """Graphs of tiny bundles of all kinds."""
    made = [
        exports.of(checkpoints.tiny("fsrcnn"), ALL_PRECISIONS),
        exports.of(checkpoints.tiny("carn")),
        exports.of(checkpoints.liif_checkpoint()),
        exports.of(checkpoints.plain_checkpoint("fsrcnn")),
    ]
    return [file for b in (*made, quantised_bundle) for file in b.rglob("*.onnx")]


def test_graphs_of_bundles_take_what_python_says(program: Path, graphs: list[Path]) -> None:
    lines = of_library(program, graphs)
    assert lines == [of_python(file.read_bytes()) for file in graphs]
    assert REFUSED not in {line.split()[0] for line in lines}
    names = {"backbone.onnx", "backbone-cpu.onnx", "network.onnx"}
    images = [line for line, file in zip(lines, graphs, strict=True) if file.name in names]
    assert len(images) >= 7  # backbones and networks, of all precisions
    assert not [line for line in images if "37x53 refused" in line]


def test_a_graph_that_takes_multiples_takes_what_python_says(
    program: Path, multiple_bundle: Path
) -> None:
    (file,) = multiple_bundle.rglob("network.onnx")
    (line,) = of_library(program, [file])
    assert line == of_python(file.read_bytes())
    assert "37x53 refused" not in line


def test_mutated_graphs_are_taken_or_refused_as_in_python(
    program: Path, graphs: list[Path], tmp_path: Path
) -> None:
    rng = random.Random(1)
    small = [file.read_bytes() for file in graphs if file.stat().st_size < 2**16]
    verdicts = _compare(
        program, tmp_path, [mutated_graph(rng.choice(small), rng) for _ in range(MUTATED)]
    )
    taken = sum(verdict != REFUSED for verdict in verdicts)
    assert 0.2 * MUTATED < taken < 0.8 * MUTATED


def test_random_graphs_are_taken_or_refused_as_in_python(program: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    cases = [random_graph(rng) for _ in range(RANDOM)]
    verdicts = _compare(program, tmp_path, cases)
    fitting = Counter(
        kind
        for case, verdict in zip(cases, verdicts, strict=True)
        if "64x48 refused" not in verdict and verdict != REFUSED
        for kind in _operators(case)
    )
    assert len(fitting) > 0.9 * len(RULES), fitting


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_one_output_alone_is_the_same(
    kind: str, program: Path, exports: Exports, quantised_bundle: Path, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    bundle = exports.of(checkpoints.tiny("carn")) if kind == "fp32" else quantised_bundle
    (file,) = bundle.glob(f"{kind}/backbone*.onnx" if kind == "fp32" else "*/backbone-cpu.onnx")
    subprocess.run([program, "--output", "features", tmp_path / "one.onnx", file], check=True)
    whole, one = onnx.load(file).graph, onnx.load(tmp_path / "one.onnx").graph
    assert [value.name for value in one.output] == ["features"]
    assert len(one.node) < len(whole.node)
    assert len(one.initializer) < len(whole.initializer)
    used = {name for node in one.node for name in node.input}
    assert {tensor.name for tensor in one.initializer} <= used
    sessions = [
        runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in (file, tmp_path / "one.onnx")
    ]
    for size in IMAGE_SIZES:
        image = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
        expected, found = (session.run(["features"], {"image": image})[0] for session in sessions)
        assert found.tobytes() == expected.tobytes()


def test_an_output_that_is_not_there_is_refused(
    program: Path, exports: Exports, tmp_path: Path
) -> None:
    file = exports.of(checkpoints.tiny("carn")) / "fp32" / "backbone.onnx"
    done = subprocess.run(
        [program, "--output", "x", tmp_path / "x.onnx", file], capture_output=True, text=True
    )
    assert done.stdout == "refused: it has no output 'x'\n"
    assert not (tmp_path / "x.onnx").exists()


def test_sizes_that_wrap_around_are_refused(program: Path, tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.array([2**62, 4]), "large")]
    nodes = [
        helper.make_node("Mul", ["large", "large"], ["y"]),
        helper.make_node("Expand", ["image", "y"], ["z"]),
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("image", "z")]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (verdict,) = _compare(program, tmp_path, [model.SerializeToString()])
    assert verdict.count(REFUSED) == 4


def _compare(program: Path, folder: Path, cases: list[bytes]) -> list[str]:
    """Returns what the library and Python say of these files alike."""
    files = [folder / f"{number}.onnx" for number in range(len(cases))]
    for file, case in zip(files, cases, strict=True):
        file.write_bytes(case)
    found, expected = of_library(program, files), [of_python(case) for case in cases]
    different = [
        f"{file}: {one} instead of {other}"
        for file, one, other in zip(files, found, expected, strict=True)
        if one != other
    ]
    assert not different, "\n".join(different)
    return found


def _operators(case: bytes) -> set[str]:
    nodes = onnx.load_model_from_string(case).graph.node
    return {f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes}
