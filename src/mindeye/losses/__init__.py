"""Contrastive losses and mixing."""
