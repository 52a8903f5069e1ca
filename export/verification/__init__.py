"""Holds exported graphs to the network that they come from."""
