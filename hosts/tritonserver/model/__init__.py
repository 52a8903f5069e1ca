"""What runs in the server's process: takes requests, computes them, answers them."""
