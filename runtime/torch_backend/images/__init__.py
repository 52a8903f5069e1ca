"""Holds convolutions that read an image as it is given to a graph."""
