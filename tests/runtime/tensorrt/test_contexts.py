"""Execution contexts and the kernels of TensorRT-RTX, by fakes: there is no GPU here."""

import gc
import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from pcsr.errors import OutputError
from pcsr.runtime.gpu.runners.checked import CheckedDeviceRunner
from pcsr.runtime.gpu.runners.protocol import DeviceRunner
from pcsr.runtime.tensorrt import engine as engine_module
from pcsr.runtime.tensorrt.engine import CONTEXTS_KEPT, Engine
from pcsr.runtime.tensorrt.library import Library
from pcsr.runtime.tensorrt.runner import TensorRTRunner


class FakeContext:
    """Remembers the shapes that it ran."""

    def __init__(self, config: Any) -> None:  # noqa: ANN401
        self.config, self.is_capturable = config, True
        self.shape: tuple[int, ...] = ()
        self.shapes: list[tuple[int, ...]] = []

    def infer_shapes(self) -> list[str]:
        return []

    def update_device_memory_size_for_shapes(self) -> int:
        return 16

    def set_device_memory(self, address: int, size: int) -> None:
        pass

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.shapes.append(self.shape)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self.is_capturable


class FakeCache:
    """The kernels of an engine; one more with every shape."""

    def __init__(self) -> None:
        self.kernels = b""
        self.accepts = True

    def serialize(self) -> bytes:
        return self.kernels

    def deserialize(self, blob: bytes) -> bool:
        self.kernels = blob if self.accepts else self.kernels
        return self.accepts


class FakeEngine:
    """image [1, 3, h, w] to features, on a GPU that is not there."""

    num_io_tensors = 2

    def __init__(self, library: Library) -> None:
        self._trt = library.trt
        self.contexts: list[FakeContext] = []
        self.cache = FakeCache()
        self.config: Any = None
        self.stream = Mock(cuda_stream=7)

    def get_tensor_name(self, index: int) -> str:
        return ("image", "features")[index]

    def get_tensor_dtype(self, name: str) -> Any:  # noqa: ANN401
        return self._trt.float32

    def get_tensor_mode(self, name: str) -> Any:  # noqa: ANN401
        modes = self._trt.TensorIOMode
        return modes.INPUT if name == "image" else modes.OUTPUT

    def create_runtime_config(self) -> Any:  # noqa: ANN401
        self.config = SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: None,
            create_runtime_cache=lambda: self.cache,
            set_runtime_cache=lambda cache: True,
        )
        return self.config

    def create_execution_context(self, config: Any) -> FakeContext:  # noqa: ANN401
        self.contexts.append(FakeContext(config))
        self.cache.kernels += b"k"
        return self.contexts[-1]


@pytest.fixture
def fake(library: Library, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What TensorRT loads, and as much of PyTorch as if there were a GPU."""
    fake = FakeEngine(library)
    monkeypatch.setattr(Library, "load", lambda *args: (fake, None))

    def bind(self: Engine, context: FakeContext, name: str, tensor: Tensor) -> None:
        context.shape = tuple(tensor.shape)

    monkeypatch.setattr(Engine, "_bind", bind)
    on_cpu = {**vars(torch), "empty": lambda *args, device, **kwargs: torch.empty(*args, **kwargs)}
    cuda = SimpleNamespace(
        current_stream=lambda device=None: fake.stream,
        is_current_stream_capturing=lambda: False,
    )
    monkeypatch.setattr(engine_module, "torch", SimpleNamespace(**(on_cpu | {"cuda": cuda})))
    return fake


class Owner:
    """A frame."""


def image(width: int) -> dict[str, Tensor]:
    return {"image": torch.zeros(1, 3, 4, width)}


def test_every_owner_and_shape_has_a_context_of_its_own(fake: FakeEngine, library: Library) -> None:
    engine = Engine(library, b"", "backbone")
    first, second = Owner(), Owner()
    for owner in (first, second, first):
        for width in (8, 9):
            engine.run(image(width), owner)
    assert len(fake.contexts) == 4
    assert [set(context.shapes) for context in fake.contexts] == [
        {(1, 3, 4, width)} for width in (8, 9, 8, 9)
    ]


def test_contexts_go_with_their_owner(fake: FakeEngine, library: Library) -> None:
    engine = Engine(library, b"", "backbone")
    kept, dropped = Owner(), Owner()
    engine.run(image(8), kept)
    engine.run(image(8), dropped)
    assert len(engine._contexts) == 2
    fake.stream.synchronize.assert_not_called()
    del dropped
    gc.collect()
    assert len(engine._contexts) == 1
    fake.stream.synchronize.assert_called_once()
    engine.run(image(8), kept)
    assert len(fake.contexts) == 2, "the other's are still there"


def test_an_owner_keeps_the_shapes_that_it_used_last(fake: FakeEngine, library: Library) -> None:
    engine, owner = Engine(library, b"", "backbone"), Owner()
    for width in range(1, CONTEXTS_KEPT + 2):
        engine.run(image(width), owner)
    engine.run(image(CONTEXTS_KEPT + 1), owner)
    assert len(fake.contexts) == CONTEXTS_KEPT + 1
    fake.stream.synchronize.assert_called_once()
    engine.run(image(1), owner)
    assert len(fake.contexts) == CONTEXTS_KEPT + 2, "the oldest was dropped"


def test_rows_of_any_number_share_one_context(fake: FakeEngine, library: Library) -> None:
    engine, owner = Engine(library, b"", "upsampler_0", by_shape=False), Owner()
    for width in (8, 9, 10):
        engine.run(image(width), owner)
    assert len(fake.contexts) == 1
    assert len(fake.contexts[0].shapes) == 3


@pytest.mark.parametrize(("by_shape", "strategy"), [(True, "EAGER"), (False, "LAZY")])
def test_kernels_for_a_recorded_shape_are_made_before_it_runs(
    fake: FakeEngine, library: Library, by_shape: bool, strategy: str
) -> None:
    Engine(library, b"", "backbone", by_shape=by_shape).run(image(8), Owner())
    assert fake.config.dynamic_shapes_kernel_specialization_strategy.name == strategy
    assert fake.contexts[0].config is fake.config


def test_kernels_are_kept_beside_the_engine(
    fake: FakeEngine, library: Library, tmp_path: Path
) -> None:
    file = tmp_path / "backbone.gpu.cache"
    engine, owner = Engine(library, b"", "backbone", cache=file), Owner()
    assert not file.exists()
    engine.run(image(8), owner)
    assert file.read_bytes() == b"k"
    before = file.stat().st_mtime_ns
    engine.run(image(8), owner)
    assert file.stat().st_mtime_ns == before, "nothing new"
    engine.run(image(9), owner)
    assert file.read_bytes() == b"kk"
    fake.cache = FakeCache()
    Engine(library, b"", "backbone", cache=file)
    assert fake.cache.kernels == b"kk", "they are read"


def test_kernels_of_another_gpu_are_made_anew(
    fake: FakeEngine, library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "backbone.gpu.cache"
    file.write_bytes(b"foreign")
    fake.cache.accepts = False
    with caplog.at_level(logging.INFO, "pcsr.tensorrt"):
        Engine(library, b"", "backbone", cache=file).run(image(8), Owner())
    assert "of another GPU or version" in caplog.text
    assert file.read_bytes() == b"k"


def test_a_folder_that_cannot_be_written_costs_time_alone(
    fake: FakeEngine,
    library: Library,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OutputError("cannot write it: Read-only file system")

    monkeypatch.setattr(engine_module, "atomic_file", refuse)
    Engine(library, b"", "backbone", cache=tmp_path / "c").run(image(8), Owner())
    assert "are made anew next time: cannot write it: Read-only" in caplog.text


# What a recording asks


def test_a_recording_is_refused_where_tensorrt_rtx_says_so(
    fake: FakeEngine, library: Library
) -> None:
    engine, ours, others = Engine(library, b"", "backbone"), Owner(), Owner()
    assert engine.refusal(ours, 7) is None
    engine.run(image(8), ours)
    engine.run(image(8), others)
    assert engine.refusal(ours, 7) is None
    fake.contexts[0].is_capturable = False
    found = engine.refusal(ours, 7)
    assert found == f"{library.title} says that the backbone engine cannot be recorded"
    assert engine.refusal(others, 7) is None


def test_a_runner_runs_in_the_contexts_of_whom_it_is_used_for(
    fake: FakeEngine, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[object] = []

    def run(self: Engine, inputs: object, owner: object) -> None:
        owners.append(owner)

    runner, frame = TensorRTRunner.__new__(TensorRTRunner), Owner()
    _as_opened(runner, lambda: Engine(library, b"", "backbone"), monkeypatch)
    monkeypatch.setattr(Engine, "run", run)
    runner.image(torch.zeros(1, 3, 4, 4))
    with runner.using(frame):
        runner.image(torch.zeros(1, 3, 4, 4))
    runner.image(torch.zeros(1, 3, 4, 4))
    assert owners[1] is frame
    assert owners[0] is owners[2] is not frame


def _as_opened(
    runner: TensorRTRunner, make: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sets what opening on a GPU would."""
    engine = make()
    monkeypatch.setattr(TensorRTRunner, "_engine", lambda self, role: engine)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    vars(runner).update(
        _local=threading.local(),
        profile=SimpleNamespace(takes=lambda size: True),
        device=torch.device("cuda:0"),
        _image_role="backbone",
    )


def test_the_checked_runner_asks_the_one_behind_it() -> None:
    behind = Mock(spec=DeviceRunner)
    behind.refusal.side_effect = lambda owner: f"{owner} is refused"
    checked = CheckedDeviceRunner.__new__(CheckedDeviceRunner)
    checked._runner = behind
    assert checked.refusal("frame") == "frame is refused"
    checked.using("frame")
    behind.using.assert_called_once_with("frame")
