"""Multi-stage training of PCSR (paper section 3.4): config, data, losses, stages, the loop."""
