"""A model server beside the library: images per second and latencies by the number of clients."""
