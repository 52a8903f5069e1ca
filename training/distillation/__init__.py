"""Trains a PCSR to imitate another network: its backbone, a neck, and upsamplers of our own."""
