"""Engines in memory: each runs one graph on the current GPU and its current stream."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pcsr.atomic import atomic_file
from pcsr.errors import EngineError, OutputError

from .library import Library

CONTEXTS_KEPT = 16  # of one owner: a frame's tiles have up to nine shapes
ContextKey = tuple[int, tuple[Any, ...]]
LOG = logging.getLogger("pcsr.tensorrt")


class Engine:
    """Runs one engine with one output on the current GPU.

    Each owner has execution contexts of its own, which go with it: a recorded frame replays what
    its contexts hold, so nobody else may use them.

    Args:
        host_code: whether the plan may bring its own runtime, as version-compatible ones do.
        by_shape: whether every shape has a context of its own, with kernels made for it before it
            first runs: for shapes that come again and may be recorded. Else one takes all.
        cache: the file that keeps the kernels which TensorRT-RTX makes on this GPU; None: none.

    Raises:
        EngineError: TensorRT does not take the plan.
    """

    def __init__(
        self,
        library: Library,
        plan: bytes,
        role: str,
        host_code: bool = False,
        by_shape: bool = True,
        cache: Path | None = None,
    ) -> None:
        trt = library.trt
        self._library = library
        self._role, self._by_shape = role, by_shape
        engine, self._runtime = library.load(plan, role, host_code)
        known = ("float32", "float16", "bfloat16", "int32")
        types: dict[Any, torch.dtype] = {getattr(trt, n): getattr(torch, n) for n in known}
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._types = {name: types[engine.get_tensor_dtype(name)] for name in names}
        outputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self._output = outputs[0]
        self._engine = engine
        self._kernels = RuntimeCache(library, engine, by_shape, cache) if library.is_rtx else None
        self._lock = threading.Lock()
        self._contexts: WeakKeyDictionary[object, _Contexts] = WeakKeyDictionary()

    def run(self, inputs: Mapping[str, Tensor], owner: object | None = None) -> Tensor:
        """Queues one run on the current stream and gives its output. The scratch memory for these
        shapes is PyTorch's. Calls for one owner, which is the engine where none is given, must not
        overlap.

        Raises:
            EngineError: a tensor does not fit the engine, or TensorRT refuses.
        """
        stream = torch.cuda.current_stream()
        shapes = tuple(tuple(tensor.shape) for tensor in inputs.values()) if self._by_shape else ()
        context, is_new = self._context(self if owner is None else owner, stream, shapes)
        output = self._enqueue(context, inputs, stream.cuda_stream)
        if is_new and self._kernels is not None:
            self._kernels.save()
        return output

    def refusal(self, owner: object, stream: int) -> str | None:
        """Says why what an owner ran may not be recorded on a stream; None where it may."""
        with self._lock:
            found = self._contexts.get(owner)
            contexts = list(found.kept.values()) if found else []
        for context in contexts if self._library.is_rtx else []:
            if not context.is_stream_capturable(stream):
                return f"{self._library.title} says that the {self._role} engine cannot be recorded"
        return None

    def empty(self) -> Tensor:
        """Makes the output for no rows."""
        width = self._engine.get_tensor_shape(self._output)[1]
        return torch.empty((0, width), dtype=self._types[self._output], device="cuda")

    def _enqueue(self, context: Any, inputs: Mapping[str, Tensor], stream: int) -> Tensor:  # noqa: ANN401
        for name, tensor in inputs.items():
            self._bind(context, name, tensor)
        missing = context.infer_shapes()
        if missing:
            raise self._library.error(f"{self._role} engine: no shape for {', '.join(missing)}")
        size = context.update_device_memory_size_for_shapes()
        scratch = torch.empty(max(size, 1), dtype=torch.uint8, device="cuda")
        context.set_device_memory(scratch.data_ptr(), scratch.numel())
        shape = tuple(context.get_tensor_shape(self._output))
        output = torch.empty(shape, dtype=self._types[self._output], device="cuda")
        self._address(context, self._output, output)
        if not context.execute_async_v3(stream):
            raise self._library.error(f"cannot run the {self._role} engine")
        return output

    def _bind(self, context: Any, name: str, tensor: Tensor) -> None:  # noqa: ANN401
        expected = self._types.get(name)
        if tensor.dtype != expected or not tensor.is_cuda or not tensor.is_contiguous():
            raise EngineError(
                f"the {self._role} engine takes {name} as contiguous {expected} on the GPU, found "
                f"{tensor.dtype} on {tensor.device} with strides {tensor.stride()}"
            )
        shape = tuple(tensor.shape)
        if not context.set_input_shape(name, shape):
            raise self._library.error(
                f"{self._role} engine does not take {name} of {'x'.join(map(str, shape))}"
            )
        self._address(context, name, tensor)

    def _address(self, context: Any, name: str, tensor: Tensor) -> None:  # noqa: ANN401
        if not context.set_tensor_address(name, tensor.data_ptr()):
            raise self._library.error(f"{self._role} engine refuses the memory of {name}")

    def _context(
        self, owner: object, stream: torch.cuda.Stream, shapes: tuple[Any, ...]
    ) -> tuple[Any, bool]:
        """Gives an owner's context for a stream and shapes, and whether it is new. Calls for one
        owner must not overlap: a context must not run twice at the same time.
        """
        if stream.cuda_stream == 0:
            raise EngineError(
                "TensorRT engines run on a stream of their own, where they do not stop the whole "
                "GPU; call inside torch.cuda.stream(torch.cuda.Stream())"
            )
        with self._lock:
            contexts = self._contexts.setdefault(owner, _Contexts())
            return contexts.get(stream, shapes, self._new_context)

    def _new_context(self) -> Any:  # noqa: ANN401
        if self._kernels is not None:
            context = self._engine.create_execution_context(self._kernels.config)
        else:
            context = self._engine.create_execution_context(
                self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
        if context is None:
            raise self._library.error(f"cannot make a context of the {self._role} engine")
        return context


class _Contexts:
    """Keeps an owner's execution contexts by stream and shapes, those that it used last."""

    def __init__(self) -> None:
        self.kept: OrderedDict[ContextKey, Any] = OrderedDict()
        self._streams: dict[int, torch.cuda.Stream] = {}

    def get(
        self, stream: torch.cuda.Stream, shapes: tuple[Any, ...], make: Callable[[], Any]
    ) -> tuple[Any, bool]:
        """Gives the context for a stream and shapes, and whether it was made now."""
        key = stream.cuda_stream, shapes
        is_new = key not in self.kept
        if is_new:
            self.kept[key] = make()
            self._streams[stream.cuda_stream] = stream
        self.kept.move_to_end(key)
        if len(self.kept) > CONTEXTS_KEPT:
            self._wait()
            self.kept.popitem(last=False)
        return self.kept[key], is_new

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the process CUDA may be gone
            self._wait()

    def _wait(self) -> None:
        """Waits for what runs: TensorRT does not keep a context until it is done with it."""
        for stream in self._streams.values():
            stream.synchronize()


class RuntimeCache:
    """Says how TensorRT-RTX makes the kernels of an engine on this GPU, and keeps them in a file.

    eager: whether kernels for a shape are made before it first runs, as a recording needs them.
    Else the first runs of a shape take general ones.
    """

    def __init__(self, library: Library, engine: Any, eager: bool, file: Path | None) -> None:  # noqa: ANN401
        trt = library.trt
        strategies = trt.DynamicShapesKernelSpecializationStrategy
        runtime_config = engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        strategy = strategies.EAGER if eager else strategies.LAZY
        runtime_config.dynamic_shapes_kernel_specialization_strategy = strategy
        runtime_cache = runtime_config.create_runtime_cache()
        self.config, self._runtime_cache, self._file = runtime_config, runtime_cache, file
        self._lock = threading.Lock()
        self._saved = self._read()
        if self._saved and not runtime_cache.deserialize(self._saved):
            LOG.info("%s is of another GPU or version; its kernels are made anew", file)
        if not runtime_config.set_runtime_cache(runtime_cache):
            raise library.error("does not take a runtime cache")

    def save(self) -> None:
        """Writes the kernels that there are now, where they have become others."""
        if self._file is None or torch.cuda.is_current_stream_capturing():
            return
        with self._lock:
            data = bytes(self._runtime_cache.serialize() or b"")
            if data in (b"", self._saved):
                return
            self._saved = data
            try:
                with atomic_file(self._file, overwrite=True) as temporary:
                    temporary.write_bytes(data)
            except OutputError as error:
                LOG.warning("the kernels of %s are made anew next time: %s", self._file, error)

    def _read(self) -> bytes:
        if self._file is None or not self._file.exists():
            return b""
        try:
            return self._file.read_bytes()
        except OSError as error:
            LOG.warning("%s cannot be read: %s", self._file, error.strerror)
            return b""
