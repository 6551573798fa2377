"""Measurements of speed beside quality: ours and the published way, side by side in one run."""
