"""make gpu-pack: what a run on a GPU machine without network needs, made on a CPU."""
