CudaKernel = None
cuda_kernel = None
