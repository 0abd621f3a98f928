"""Directories as they change: the whole pipeline against the disk."""
