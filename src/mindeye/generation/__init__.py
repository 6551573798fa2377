"""From predicted embeddings to pictures."""
