"""NVIDIA Triton Inference Server: a model repository of bundles, and a server that runs it."""
