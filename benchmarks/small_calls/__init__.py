"""What a call costs beside its computing."""
