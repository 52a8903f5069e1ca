"""One stream of frames: what did not change since the frame before is not computed again."""
