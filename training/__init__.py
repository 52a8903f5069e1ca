"""Multi-stage training of PCSR (not written yet; see CHANGELOG.md)."""
