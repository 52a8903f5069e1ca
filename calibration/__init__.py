"""Measures what a bundle's quality costs, and finds its operating points and precisions."""
