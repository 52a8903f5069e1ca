"""Upscales files: images and videos in, images and videos out (pcsr-upscale)."""

MAX_PIXELS = 2**22
"""Default limit of an input image or frame; x4 holds about 2 GiB in memory per million."""
