"""Galleries: pictures by the million, looked up by embedding."""
