"""Photographs as they are found, made into one array: sources, decoding, the cache, the held-out part."""

from trainer.data.dataset import Dataset, load_dataset

__all__ = ["Dataset", "load_dataset"]
