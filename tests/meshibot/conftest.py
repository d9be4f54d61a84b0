"""Fixtures for every test of the bot."""

from tests.fakes.network import fake_processes, fakes
from tests.fakes.x import fake_x, fake_x_process

__all__ = ["fake_processes", "fake_x", "fake_x_process", "fakes"]
