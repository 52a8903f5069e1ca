"""Says where the milliseconds go: `pcsr-profile`."""
