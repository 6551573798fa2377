"""Scores of anybody's reconstructions: no run and no decoder, only pictures and what was shown."""
