"""The runtime on a GPU: a bundle's graphs in PyTorch, ONNX Runtime or TensorRT on tensors that stay
on the device. Needs PyTorch.
"""

from pcsr.errors import BackendError

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as missing:
    raise BackendError(
        f"this backend or device needs {missing.name}, which is not installed; install PyTorch "
        "from pytorch.org, or use device cpu with backend native or onnxruntime"
    ) from missing
except (ImportError, OSError) as broken:
    raise BackendError(f"PyTorch is installed but does not load: {broken}") from broken
