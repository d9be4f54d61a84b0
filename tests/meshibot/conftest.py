"""Fixtures for every test of the bot."""

from tests.fakes.x import fake_x, fake_x_process

__all__ = ["fake_x", "fake_x_process"]
