"""Turns a bundle and an image into an upscaled image: backends, routing, refinement. Imports
neither models, export nor training.
"""
