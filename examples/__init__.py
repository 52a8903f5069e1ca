"""Programs that show what pcsr does: make demo, make serve-demo."""
