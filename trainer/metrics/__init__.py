"""Figures that judge pictures without downloaded weights, one small file each.

Pictures are uint8 arrays (n, r, r, 3) and features are tensors (n, d). Every figure is deterministic for its
seed. `quick` is for the training loop, `suite` for `trainer evaluate`.
"""
