"""The fused passes behind the backbone as Triton kernels, all on the device and never waiting for it.

One frame: `dense` over all pixels, `route` into lists, `sparse` over each heavier upsampler's list,
`finish`. ADM: `difficulties`, `histogram`, `lloyd` between the first two; a share of heavy pixels:
`difficulties`, `select`.
"""
