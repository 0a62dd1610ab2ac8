"""Measuring packages and single kernels: by time here, by executed instructions for what can't be timed."""
