"""The process that images are computed in: its limits, its forks, and what it holds open."""
