"""Benchmarks: the reference models, the parity table and the comparison with peer engines."""
