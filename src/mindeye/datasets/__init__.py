"""Readers: each turns the files of one kind of source into a `Recording`."""
