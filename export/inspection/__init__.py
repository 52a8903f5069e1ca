"""Says what a checkpoint or a bundle is, and what can be made of it (`pcsr-inspect`)."""
