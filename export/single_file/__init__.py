"""Writes a bundle as one ONNX graph: image in, upscaled image out, routing inside."""
