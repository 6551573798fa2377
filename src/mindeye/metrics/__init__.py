"""Scores of anybody's retrieval and reconstructions, with floors and ceilings."""
