"""PCSR on a device, from image to image: everything stays in its memory and on its stream."""
