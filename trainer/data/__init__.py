"""Photographs as they are found, made into one array: sources, decoding, the cache, the held-out part."""
