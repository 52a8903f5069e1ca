"""A process that makes thousands of mixed calls, and what it holds meanwhile."""
