"""The runner of backend `onnxruntime`: it reads and writes PyTorch's tensors where they lie."""

from collections.abc import Mapping
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from pcsr.bundle import Bundle
from pcsr.errors import ImageError
from pcsr.manifest import ROW_INPUTS
from pcsr.runtime.machine import refuse_two_packages
from pcsr.runtime.onnxruntime_session import (
    ERRORS,
    SETTINGS,
    open_session,
    provider_of,
    run_options,
)
from pcsr.runtime.shutdown import foreign_call
from pcsr.text import first_line

from .protocol import DeviceRunner
from .side_stream import SideStream

BFLOAT16 = 16  # in ONNX: NumPy has no such type
NUMPY_TYPES = {torch.float32: np.float32, torch.float16: np.float16, torch.int32: np.int32}


class OnnxRuntimeDeviceRunner(DeviceRunner):
    """Runs every graph in ONNX Runtime, through I/O binding; on the CPU by the same code.

    On CUDA it computes on a stream of its own, fixed when its sessions open, that waits for the
    caller's stream and is waited for by it: the host waits for neither.

    Raises:
        BackendError: ONNX Runtime is missing, twice there, or does not run on `device`.
        BundleError: no such precision, a damaged bundle, or a graph that ONNX Runtime refuses.
    """

    def __init__(self, bundle: Bundle, precision: str, device: torch.device) -> None:
        refuse_two_packages()
        self.device = device
        self._lock = Lock()
        self._stream = SideStream(device)
        self._options = run_options()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._graphs = bundle.graphs(precision)
        self._role = bundle.image_role
        self._scale = int(bundle.manifest.trained_scale) if self._role == "network" else 1
        name, provider_options = provider_of(str(device))
        settings = dict(SETTINGS)
        if self._stream.pointer is not None:
            settings["session.disable_cpu_ep_fallback"] = "1"
            pointer = str(self._stream.pointer)
            provider_options |= {"user_compute_stream": pointer, "use_tf32": "0"}
        self._sessions = {
            role: open_session(bundle, role, precision, 0, (name, provider_options), settings)
            for role in self._graphs
        }

    def image(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        size = (height * self._scale, width * self._scale)
        tensor = self._graphs[self._role].outputs[0]
        return self._run(self._role, {"image": image}, (1, int(tensor.shape[1]), *size))

    def rows(
        self, role: str, features: Tensor, index: Tensor, offset: Tensor, cell: Tensor
    ) -> Tensor:
        width = int(self._graphs[role].outputs[0].shape[1])
        if len(index) == 0:  # an empty tensor has no address to bind
            return torch.empty(0, width, dtype=torch.float32, device=self.device)
        inputs = dict(zip(ROW_INPUTS, (features, index, offset, cell), strict=True))
        return self._run(role, inputs, (len(index), width)).float()

    def _run(self, role: str, inputs: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
        """Gives the graph's first output, of this shape."""
        session, output = self._sessions[role], self._graphs[role].outputs[0]
        result = torch.empty(shape, dtype=getattr(torch, output.dtype), device=self.device)
        held = {name: tensor.contiguous() for name, tensor in inputs.items()}
        binding = session.io_binding()
        for name, tensor in held.items():
            binding.bind_input(name, *_where(tensor))
        binding.bind_output(output.name, *_where(result))
        with foreign_call(), self._lock, self._stream.entered():
            try:
                session.run_with_iobinding(binding, self._options)
            except ERRORS as error:
                raise _translated(role, error) from error
        return result


def _where(tensor: Tensor) -> tuple[str, int, object, list[int], int]:
    """Gives device, its index, element type, shape and address, as I/O binding wants them."""
    element = BFLOAT16 if tensor.dtype == torch.bfloat16 else NUMPY_TYPES[tensor.dtype]
    index = tensor.device.index or 0
    return tensor.device.type, index, element, [*tensor.shape], tensor.data_ptr()


def _translated(role: str, error: Exception) -> Exception:
    reason = first_line(error)
    if "allocate memory" in reason or "out of memory" in reason.lower():
        return torch.OutOfMemoryError(f"ONNX Runtime, {role} graph: {reason}")
    return ImageError(f"ONNX Runtime fails in the {role} graph: {reason}")
