"""What Python and the library say of ONNX files, in the same words."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pcsr.reading.graph import read_graph_shapes
from pcsr.reading.graph_shapes import GraphShapes
from pcsr.reading.roles import IMAGE_LIMITS

SIZES = ((1, 1), (37, 53), (64, 48), (2000, 1500))
REFUSED = "refused"


def of_python(data: bytes) -> str:
    """The line that runtime/libpcsr/tests/read_graph prints of a file, without a reason."""
    try:
        graph = read_graph_shapes(data)
    except ValueError:
        return REFUSED
    return " ".join((f"ok {len(graph.nodes)}", *(_of_size(graph, size) for size in SIZES)))


def of_library(program: Path, files: Sequence[Path]) -> list[str]:
    """The lines of that program, without its reasons."""
    done = subprocess.run(
        [program, *files], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    return [line.partition(":")[0] for line in lines]


def _of_size(graph: GraphShapes, size: tuple[int, int]) -> str:
    name = "x".join(map(str, size))
    try:
        if graph.inputs != ("image",):
            raise ValueError(graph.inputs)
        found = graph.estimate({"image": (1, 3, *size)}, size[0] * size[1], IMAGE_LIMITS)
    except ValueError:
        return f"{name} {REFUSED}"
    shapes = sorted((_bytes(each), shape) for each, shape in found.outputs.items())
    parts = (f"{each.hex()}={''.join(f'{side},' for side in shape)};" for each, shape in shapes)
    return f"{name} {found.peak} {''.join(parts)}"


def _bytes(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()  # protobuf gives what is no UTF-8
