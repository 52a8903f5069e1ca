"""Measures quality, work and routing of a bundle on images (pcsr-evaluate)."""
