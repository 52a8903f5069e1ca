"""What a billion images take on 1 to 1,000 GPUs, by arithmetic."""
