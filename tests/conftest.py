"""Shared settings: quiet, repeatable property tests."""

from hypothesis import settings

settings.register_profile("tinytorch", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tinytorch")
