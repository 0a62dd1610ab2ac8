"""Nets of camera effects in the manner of their papers, small; each module holds those of one task."""
