"""Defines what the runtime gains: this runtime, the published form and the plain network,
interleaved.
"""
