"""What a frame of a sequence takes, by how much of it changes."""
