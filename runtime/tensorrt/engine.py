"""Engines in memory that run on a GPU's current stream."""

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pcsr.errors import EngineError

from .library import Library
from .plans import PlanSet
from .profiles import format_size


class TensorRTRunner:
    """The engines of one bundle on one GPU, for tensors there, queued on PyTorch's current stream
    (not the default one). Any number of threads may call it at once.

    device: the GPU. capturable: calls may be recorded into a CUDA graph, after one with the same
    shapes. image_least, image_limit: smallest and largest (height, width) of `image`. rows_limit:
    most rows N of a call of `rows`; map_limits: least and most input pixels P of its row map.
    """

    capturable = True

    def __init__(self, library: Library, plans: PlanSet, device: str) -> None:
        """device: `cuda:N`. The engine of the backbone (of a plain network) is loaded now, the
        others when they are first called.

        Raises:
            EngineError: TensorRT does not take the plan.
        """
        facts = plans.record.facts
        self.device = torch.device(device)
        self.profile = facts.profile
        self.image_least = facts.profile.min
        self.image_limit: tuple[int, int] | None = facts.profile.max
        self.map_limits: tuple[int, int] | None = (
            facts.profile.pixel_counts[0],
            facts.profile.pixel_counts[-1],
        )
        self.rows_limit = facts.profile.rows_max
        self._library = library
        self._plans = plans
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        self._image_role = "network" if "network" in plans.plans else "backbone"
        self._engine(self._image_role)

    def image(self, image: Tensor) -> Tensor:
        """image [1, 3, h, w] float32 RGB in [0, 1] -> features [1, D, h, w] of the graphs'
        precision; of a plain network, upscaled [1, 3, H, W] float32.

        Raises:
            EngineError: a size outside the profile, another type or device, or TensorRT fails.
        """
        size = image.shape[2], image.shape[3]
        if not self.profile.takes(size):
            raise EngineError(
                f"an image of {format_size(size)} is outside the sizes {self.profile} of these "
                "engines; tile it, or run pcsr-build with other sizes"
            )
        with torch.cuda.device(self.device):
            return self._engine(self._image_role).run({"image": image})

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        """`classifier` or `upsampler_j`: row map [P, C], index [N] int32, offset [N, 2] and cell
        [2] float32 -> [N, outputs] float32. N = 0 runs nothing.

        Raises:
            EngineError: as `image`.
        """
        with torch.cuda.device(self.device):
            engine = self._engine(role)
            if index.shape[0] == 0:
                return engine.empty()
            inputs = {"features": features, "index": index, "offset": offset, "cell": cell}
            return engine.run(inputs)

    def _engine(self, role: str) -> "Engine":
        with self._loading:
            if role not in self._engines:
                host_code = self._plans.record.facts.options.version_compatible
                with torch.cuda.device(self.device):
                    plan = self._plans.plans[role]
                    self._engines[role] = Engine(self._library, plan, role, host_code)
            return self._engines[role]


class Engine:
    """One engine with one output, on the current GPU.

    host_code: whether the plan may bring its own runtime, as version-compatible ones do.
    """

    def __init__(self, library: Library, plan: bytes, role: str, host_code: bool = False) -> None:
        """device: `cuda:N`. Raises EngineError where TensorRT does not take the plan."""
        trt = library.trt
        self._library = library
        self._role = role
        runtime = trt.Runtime(library.log)
        if host_code:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise library.error(f"cannot load the {role} engine")
        types = {
            trt.float32: torch.float32,
            trt.float16: torch.float16,
            trt.bfloat16: torch.bfloat16,
            trt.int32: torch.int32,
        }
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._types = {name: types[engine.get_tensor_dtype(name)] for name in names}
        outputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self._output = outputs[0]
        self._runtime = runtime  # it must outlive the engine
        self._engine = engine
        self._local = threading.local()

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Queues one run on the current stream. Its scratch memory is PyTorch's, for these shapes.

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
        """The output for no rows."""
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
        """The context of this thread and stream: one must not run twice at the same time."""
        if stream == 0:
            raise EngineError(
                "TensorRT engines run on a stream of their own, where they do not stop the whole "
                "GPU; call inside torch.cuda.stream(torch.cuda.Stream())"
            )
        if not hasattr(self._local, "contexts"):
            self._local.contexts = {}
        contexts: dict[int, Any] = self._local.contexts
        if stream not in contexts:
            trt = self._library.trt
            context = self._engine.create_execution_context(
                trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
            if context is None:
                raise self._library.error(f"cannot make a context of the {self._role} engine")
            contexts[stream] = context
        return contexts[stream]
