"""Runs the graphs of one bundle on tensors that stay on their device."""
