"""What of a graph kernels of ours may replace, and which of them does so on a device."""
