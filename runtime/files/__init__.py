"""Upscales files: images and videos in, images and videos out (pcsr-upscale)."""
