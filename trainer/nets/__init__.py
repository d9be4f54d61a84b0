"""Generators and critics: what a latent becomes, and what is made of a picture."""
