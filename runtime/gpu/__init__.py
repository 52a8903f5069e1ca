"""PCSR on a device, from image to image: everything stays in the device's memory and on its stream."""
