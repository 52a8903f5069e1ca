"""Computes images on the CPU: the backbone in ONNX Runtime, what follows in compiled passes."""
