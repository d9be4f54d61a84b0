"""The approved pictures that wait: how they are sampled, chosen and kept.

`stock` keeps them, `sampler` asks for more, `sampling` is the child process that makes them, and `selection`
says which are worth keeping. Only children (`drawing` and `walking` are others) import torch.
"""
