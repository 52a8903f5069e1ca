"""The ways to compute an image graph in 16 and 8 bits, and the choice among them at opening."""
