"""What a run of pcsr-upscale is to do, may take, and has done."""
