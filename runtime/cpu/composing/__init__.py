"""Composes output rows, and holds them until they are refined."""
