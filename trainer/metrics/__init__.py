"""Figures that judge pictures without downloaded weights, one small file each.

Pictures are uint8 arrays (n, r, r, 3) and features are tensors (n, d). The same pictures have the same
figures: what is drawn at random has a fixed seed. `quick` is for the training loop, `suite` for `trainer
evaluate`.
"""
