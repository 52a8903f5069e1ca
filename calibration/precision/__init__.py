"""Quantises a bundle's graphs to 8 bits and holds them to a loss in PSNR."""
