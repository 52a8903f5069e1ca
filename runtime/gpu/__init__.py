"""PCSR on a device, from image to image: all of it stays in its memory and on its stream."""
