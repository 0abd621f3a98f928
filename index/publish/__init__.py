"""Stores for other tools, encoded from ours."""
