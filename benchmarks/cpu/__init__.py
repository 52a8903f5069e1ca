"""The contenders of `make bench`: all on the CPU, interleaved."""
