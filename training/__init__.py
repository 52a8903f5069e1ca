"""Trains PCSR stage by stage (paper section 3.4): config, data, losses, stages, the loop."""
