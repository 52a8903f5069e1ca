"""Serving a bundle with NVIDIA Triton Inference Server."""
