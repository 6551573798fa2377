"""Number-by-number comparison with the published implementation, driven by a manifest."""
