"""Rewrites a graph and its weights so that 8 bits hold them well."""
