"""Figures of the page as geometry: dot plots and curves in percent of their frame.

Templates draw them with HTML and inline SVG, so that text keeps its size on a phone and
colours follow the light or dark theme.
"""
