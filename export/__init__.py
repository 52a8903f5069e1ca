"""Leads from a checkpoint to a verified bundle: read, fold, export to ONNX, compare, write."""
