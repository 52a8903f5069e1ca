"""What callers hand in: arguments and images, checked and in one form."""
