"""make gpu: what a GPU makes of the bundles, checked and measured, in a process that may die."""
