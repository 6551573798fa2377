"""Estimators: one protocol for decoders, baselines and the drawing of pictures."""
