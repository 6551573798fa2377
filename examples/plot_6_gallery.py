"""
A gallery of pictures
=====================

Among many pictures that the decoder has never met: which one did this person see?
"""
