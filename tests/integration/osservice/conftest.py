"""The user manager for the tests in this directory."""

from tests.support.user_manager import user_manager

__all__ = ["user_manager"]
