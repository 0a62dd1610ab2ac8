"""Kernel source from templates: what a target's kernel library is made of."""
