"""Reads files that someone else may have made: no more of them than a limit, and nothing of them is
trusted before it is checked. All raise ValueError, with one line that says what is wrong.
"""
