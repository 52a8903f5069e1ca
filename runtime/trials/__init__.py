"""Trials: what was found to be the fastest of several ways to compute the same, and its memory."""
