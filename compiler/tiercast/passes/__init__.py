"""Passes: one file `<verb>_<noun>.py` is one pass `verb_noun(model) -> PassReport`, in place; `pipeline.py`
is their order.

Over ONNX nodes: fold_constants, split_composites, remove_identities, fold_batch_norm, fuse_layer_norm,
fuse_softmax.
From ONNX to physical nodes: assign_layout.
Over physical nodes: remove_copies, split_copies, fuse_pad, fuse_resize, fuse_gate, fuse_idioms, fuse_scale,
fuse_activation, fuse_residual, fuse_pointwise. fuse_gate and fuse_idioms make what the later ones fuse, so
they come first.

A rule is pattern, check and rewrite; where a pattern matches and the check says no, the report keeps the
reason. A value that takes another's place takes its name and its "source": what value of the model it holds,
for `verify`.
"""
