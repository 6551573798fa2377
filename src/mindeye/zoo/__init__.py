"""Small embedded models that run without a GPU or a model hub."""
