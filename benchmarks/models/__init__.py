"""Reference models of the field, written in PyTorch with seeded weights; `zoo` is the registry."""
