"""Batches whose images share the statistics that route them."""
