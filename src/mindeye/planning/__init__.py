"""What a configuration needs before it is run: memory of a training step, from shapes alone."""
