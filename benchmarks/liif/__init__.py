"""Measures a LIIF network and the PCSR that was trained from it, beside what people use instead."""
