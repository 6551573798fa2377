"""Prepared subjects on disk, what writes them, and simulated ones."""
