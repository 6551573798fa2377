"""Published models: which, whose, how large, under what terms, and where they lie on disk."""
