"""Times libpcsr beside `Upscaler`, in one process and interleaved."""
