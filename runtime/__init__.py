"""From a bundle to an upscaled image: backends, routing, refinement. Imports neither models, export
nor training.
"""
