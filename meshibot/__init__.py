"""meshibot: samples pictures of food that does not exist, and posts them on a schedule."""

__version__ = "0.1.0"
