"""What training patches are cut out of: photos, pairs, the published sub-images."""
