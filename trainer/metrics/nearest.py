"""One-nearest-neighbour accuracy: can a classifier that knows all other pictures tell fakes from reals?

Lopez-Paz and Oquab, 'Revisiting Classifier Two-Sample Tests' (ICLR 2017); recommended by Xu et al., 'An
empirical study on evaluation metrics of generative adversarial networks' (2018).
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.metrics.distances import distances


def nearest_neighbour_accuracy(a: Tensor, b: Tensor) -> float:
    """Leave-one-out accuracy on features (n, d) of either set.

    0.5 for equal distributions, 1 for sets that are told apart, below 0.5 where one set copies the other.
    """
    if len(a) != len(b):
        raise ValueError("one-nearest-neighbour accuracy compares sets of equal size")
    everything = torch.cat([a, b])
    between = distances(everything, everything).fill_diagonal_(torch.inf)
    first = torch.arange(len(everything), device=a.device) < len(a)
    return float((first[between.argmin(1)] == first).double().mean().item())
