"""Runs a bundle's ONNX graphs in PyTorch, rewritten and tuned for the device."""
