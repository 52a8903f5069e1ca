"""Finds how quality and time follow from the routing, and stores it in a bundle."""
