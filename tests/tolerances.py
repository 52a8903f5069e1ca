"""How far apart two results may lie: one table, each entry with its reason.

Images are RGB in [0, 1]; differences are absolute unless an entry says otherwise.
"""

# Runtime, fp32, against PyTorch (pcsr.models) and against the published code (golden files).
IMAGE_FP32 = 2e-5  # the design's figure: folded first layers sum float32 in another order
REROUTED_SHARE = 1e-4  # the design's figure: a logit within rounding of the threshold may flip
REROUTED_PX = 1  # ... and on an image of under 10,000 pixels one such pixel
DIFFICULTY = 1e-3  # of one pixel: CARN's classifier makes 2.5e-4 of such sums, at worst
MEAN_DIFFICULTY = 2e-6  # of an image: 3e-7 at worst
PSNR_DB = 1e-3  # the design's figure
CENTROID = 1e-4  # a share of 1e-4 of the pixels in the other cluster moves its mean by that much

# pcsr.models against the published code: the same operations in the same order.
EAGER = 1e-6  # bit for bit with as many threads; 1.5e-6 (difficulty 2.5e-4) with others
EAGER_REROUTED_PX = 0

# Single steps against float64 or grid_sample.
PASSES = 5e-6  # outputs about 1 of up to 4 layers: float32 sums of up to 74 products, in any order
BF16_PASSES = 0.1  # weights and activations rounded to 8 bits in up to 4 layers
BILINEAR = 1e-6  # of values in [0, 1]: lerp of lerps instead of four weights, 3 float32 roundings
REFINED = 1e-6  # sum of nine values in [0, 1] in float32 instead of float64
BF16_PSNR_DB = (
    55  # of images with bf16 passes against fp32, rounded to uint8: 56.98 at worst of ten
)
BF16_LOSS_DB = 0.02  # of PSNR on photos: 0.011 at worst of sixteen
ROUNDED = {  # in levels: half a level of rounding, plus float32 errors times the peak
    "uint8": 0.501,
    "uint16": 0.52,
    "float32": 1e-6,
}
LUMA = 2e-7  # one ulp: the three float32 weights sum to 1 within that
SIGMOID = 2e-7  # absolute, one ulp at 1.0
SIGMOID_ULPS = 1e-6  # relative, the compiled one: some 8 roundings of exp, divided once
CELL = 1e-6  # relative, of two float32 roundings
COST = 1e-6  # float32 sum of M products
GFLOPS = 1e-9  # relative: integers below 2**53, summed exactly
POSITION = 2e-7  # relative to the input's size: float32 roundings of a position on it
BIN = 1e-5  # of normalised difficulty: a value this near to a boundary may fall to either side
LEVEL_PX = 1  # two float32 logits of a million may be level, and are not split

# Triton kernels. Outputs about 1 of up to 4 layers.
KERNELS = {
    "torch.float32": 5e-6,  # as PASSES
    "torch.float16": 5e-3,  # features, weights and activations rounded to 11 bits: 1.6e-3 at worst
}
# Share of the range: values count as the centre of one of 65536 bins, at most 7.6e-6 off, which
BOUND = 2e-5  # Lloyd's steps carry on: 1.1e-5 at worst
LOGIT = 2e-6  # absolute: the difference of two logarithms, each some ulps of up to 20

# Convolutions on the CPU in bf16, outputs about 1, against sums in float64 that are rounded alike:
# float32 sums in another order round some values of a tensor to the next bf16.
CONVOLVED_BF16 = 4e-3  # of the largest value: each such value is 2**-8 off
CONVOLVED_BF16_MEAN = 2e-4  # they are few
NETWORK_BF16 = 3e-2  # of the largest value, against float32: weights and activations of 8 bits

# Convolutions as Triton kernels, outputs about 1.
CONVOLVED = {
    "torch.float32": 1e-5,  # sums of up to 576 products, in another order
    "torch.float16": 4e-3,  # inputs are given in it; rounded once, and once before a tail
}
