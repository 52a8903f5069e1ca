"""Engines in memory: each runs one graph on the current GPU and its current stream."""

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pcsr.errors import EngineError

from .library import Library


class Engine:
    """Runs one engine with one output on the current GPU.

    Args:
        host_code: whether the plan may bring its own runtime, as version-compatible ones do.

    Raises:
        EngineError: TensorRT does not take the plan.
    """

    def __init__(self, library: Library, plan: bytes, role: str, host_code: bool = False) -> None:
        trt = library.trt
        self._library = library
        self._role = role
        engine, self._runtime = library.load(plan, role, host_code)
        known = ("float32", "float16", "bfloat16", "int32")
        types: dict[Any, torch.dtype] = {getattr(trt, n): getattr(torch, n) for n in known}
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._types = {name: types[engine.get_tensor_dtype(name)] for name in names}
        outputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self._output = outputs[0]
        self._engine = engine
        self._local = threading.local()

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Queues one run on the current stream and gives its output. The scratch memory for these
        shapes is PyTorch's.

        Raises:
            EngineError: a tensor does not fit the engine, or TensorRT refuses.
        """
        stream = torch.cuda.current_stream().cuda_stream
        context = self._context(stream)
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

    def empty(self) -> Tensor:
        """Makes the output for no rows."""
        width = self._engine.get_tensor_shape(self._output)[1]
        return torch.empty((0, width), dtype=self._types[self._output], device="cuda")

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

    def _context(self, stream: int) -> Any:  # noqa: ANN401
        """Gives the context of this thread and stream: one must not run twice at the same time."""
        if stream == 0:
            raise EngineError(
                "TensorRT engines run on a stream of their own, where they do not stop the whole "
                "GPU; call inside torch.cuda.stream(torch.cuda.Stream())"
            )
        contexts: dict[int, Any] = vars(self._local).setdefault("contexts", {})
        if stream not in contexts:
            trt = self._library.trt
            context = self._engine.create_execution_context(
                trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
            if context is None:
                raise self._library.error(f"cannot make a context of the {self._role} engine")
            contexts[stream] = context
        return contexts[stream]
