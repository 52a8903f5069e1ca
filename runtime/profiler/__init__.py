"""Where the milliseconds go: `pcsr-profile`."""
