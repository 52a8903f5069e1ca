"""Runners: what runs the graphs of one bundle on tensors that stay on their device."""
