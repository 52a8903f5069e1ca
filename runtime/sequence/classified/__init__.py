"""Frames whose rule is that of the whole frame: ADM, a share of heavy pixels, budgets."""
