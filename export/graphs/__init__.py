"""Builds and rewrites the ONNX graphs of a network."""
