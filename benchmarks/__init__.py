"""Measurements, run as ``python -m benchmarks.NAME`` from the top of the repository."""
