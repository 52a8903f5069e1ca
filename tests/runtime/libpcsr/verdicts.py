"""What libpcsr and the runtime in Python say of bundles."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pcsr.bundle import Bundle
from pcsr.errors import BundleError
from pcsr.runtime.mlps import load_mlps

MLPS = "fp32/mlps.npz"


def in_python(path: Path) -> str:
    """Reads a bundle as the native backend does: "ok", or "refused: " and why."""
    try:
        opened = Bundle.load(path)
        opened.graph_bytes(opened.image_role)
        if opened.kind == "pcsr":
            load_mlps(opened)
    except BundleError as error:
        return f"refused: {error}"
    return "ok"


def in_c(program: Path, paths: Sequence[Path], **environment: str) -> list[str]:
    """Gives the lines of the program read_bundle, one for each bundle."""
    done = subprocess.run(
        [program, *paths],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert done.returncode == (2 if any(line.startswith("refused: ") for line in lines) else 0)
    return lines
