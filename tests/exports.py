"""Exports, each made once per run and shared by all processes and test files."""

import hashlib
import io
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from filelock import FileLock
from torch.onnx._internal.exporter._registration import ONNXRegistry

from pcsr.export.exporter import ExportOptions, export_bundle

from .commands import snapshot

FP32 = ExportOptions()
ALL_PRECISIONS = ExportOptions(precisions=("fp16", "bf16"))


class Exports:
    """Bundles by the bytes of their checkpoint and by the options. No test may change one: it
    copies it first. `verify` finds those that were changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: dict[Path, str] = {}

    def of(self, data: Any, options: ExportOptions = FP32) -> Path:  # noqa: ANN401
        """Returns the bundle of a checkpoint, which lies beside it as `network.pth`."""
        content = io.BytesIO()
        torch.save(data, content)
        return self._bundle(content.getvalue(), options)

    def of_file(self, checkpoint: Path, options: ExportOptions = FP32) -> Path:
        """Returns the bundle of a checkpoint file."""
        return self._bundle(checkpoint.read_bytes(), options)

    def verify(self) -> None:
        """Compares every bundle that this process used with what was exported."""
        changed = [str(path) for path, digest in self._used.items() if _digest(path) != digest]
        assert not changed, f"tests changed bundles that all share: {', '.join(changed)}"

    def _bundle(self, checkpoint: bytes, options: ExportOptions) -> Path:
        key = hashlib.sha256(checkpoint + repr(options).encode()).hexdigest()[:16]
        folder = self._folder / key
        bundle, done = folder / "bundle", folder / "done"
        with FileLock(folder.with_suffix(".lock")):
            if not done.exists():
                folder.mkdir()
                (folder / "network.pth").write_bytes(checkpoint)
                export_bundle(folder / "network.pth", bundle, options)
                done.write_text(_digest(bundle))
        self._used[bundle] = done.read_text()
        return bundle


@dataclass(frozen=True)
class Program:
    """The part of PyTorch's result that we use."""

    model_proto: onnx.ModelProto


@contextmanager
def graphs_made_once(folder: Path) -> Iterator[None]:
    """Keeps what torch.onnx.export makes, by the module with its weights and by the options, and
    makes PyTorch's table of ONNX operators once: the exporter parses the sources of all of them for
    every graph, which is a third of the time that these small networks take.
    """
    real = torch.onnx.export

    def export(module: Any, args: Any, file: Any = None, **options: Any) -> Any:  # noqa: ANN401
        key = None if file else _key(module, args, options)
        if key is None:
            return real(module, args, file, **options)
        kept = folder / f"{key}.onnx"
        with FileLock(kept.with_suffix(".lock")):
            if not kept.exists():
                program = real(module, args, **options)
                assert program is not None
                kept.write_bytes(program.model_proto.SerializeToString())
        return Program(onnx.load_model(kept))

    with pytest.MonkeyPatch.context() as patch:
        table = staticmethod(cache(ONNXRegistry.from_torchlib))
        patch.setattr(ONNXRegistry, "from_torchlib", table)
        patch.setattr(torch.onnx, "export", export)
        yield


def folder_of_run(factory: pytest.TempPathFactory, name: str) -> Path:
    """Returns a folder that all processes of this run share, pytest started by a test too."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = Path(os.environ.setdefault("PCSR_TESTS_SHARE", str(base))) / name
    folder.mkdir(exist_ok=True)
    return folder


class _Pickler(pickle.Pickler):
    """Writes the values of tensors, which pickle by itself names by their addresses."""

    def persistent_id(self, value: object) -> object:
        if not isinstance(value, torch.Tensor):
            return None
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()


def _key(*values: object) -> str | None:
    """Returns a digest of modules, tensors and options; None where they cannot be pickled."""
    content = io.BytesIO()
    try:
        _Pickler(content).dump(values)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return hashlib.sha256(content.getvalue()).hexdigest()[:32]


def _digest(bundle: Path) -> str:
    return hashlib.sha256(repr(snapshot(bundle)).encode()).hexdigest()
