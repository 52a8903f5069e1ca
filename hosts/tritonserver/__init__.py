"""A model for the Python backend of NVIDIA Triton Inference Server, and the repositories that hold
it (`pcsr-serve repository`).

`triton_python_backend_utils` is there only within the server: the model's file imports it and hands
it on, so that all of this is imported and tested without.
"""

from .model.instance import Model

__all__ = ["Model"]
