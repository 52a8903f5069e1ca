"""Says where output pixels lie in the input, and cuts images into tiles."""
