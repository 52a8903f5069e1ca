"""Fuzzers: mutated bundles, checkpoints, configs and images, opened and used in child processes.

    python -m tests.fuzz --help

A case is made from its number alone, so that a number that failed can be run again.
"""
