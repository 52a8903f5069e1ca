"""Operating point and precision: what a bundle's quality costs."""
