"""Tiercast beside other engines on any model, interleaved in one run.

`compare` runs in Tiercast's own Python. `worker`, `convert` and `engines` also run in one that has only the
engines (`environment`), so they import nothing of Tiercast that needs more than numpy.
"""
