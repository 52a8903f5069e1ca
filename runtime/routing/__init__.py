"""Decides which upsampler each pixel gets, and what a call asks for."""
