"""The one way to measure: calls in interleaved rounds, first uses, memory, ceilings, statistics.

A `Caller` is whatever takes an image and answers with another one: an `Upscaler`, a network in
PyTorch, a session of ONNX Runtime. `timed` and `DeviceMeter` time its calls, `turns` says whose is
next, and a `Series` keeps the `Measurement` of each round. Nothing here knows of bundles, commands
or tables.
"""
