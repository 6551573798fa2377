"""Objectives, the loop that runs them, checkpoints."""
