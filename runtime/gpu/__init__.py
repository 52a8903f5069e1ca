"""The runtime on a GPU: a bundle's graphs in PyTorch, ONNX Runtime or TensorRT on tensors that stay
on the device. Needs PyTorch.
"""
