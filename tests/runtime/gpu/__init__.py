"""Tests of the runtime on a GPU, as far as they can run on a CPU."""
