"""Upscales files: images and videos in, images and videos out (pcsr-upscale)."""

MAX_PIXELS = 100_000_000
"""Default limit of an input image."""
MAX_FRAME_PIXELS = 2**24
"""Default limit of a frame of a video."""
