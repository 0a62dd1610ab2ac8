"""Passes: one file is one pass `verb_noun(model) -> PassReport`, in place. Their order is written in
`pipeline.py`.

Over ONNX nodes: fold_constants, split_composites, remove_identities, fold_batch_norm, fuse_layer_norm.
From ONNX to physical nodes: assign_layout.
Over physical nodes: fuse_pad, fuse_swish, fuse_activation, fuse_residual, fuse_gate, fuse_pointwise,
remove_copies.
A rule is pattern, check and rewrite; where a pattern matches and the check says no, the report keeps the
reason.
"""
