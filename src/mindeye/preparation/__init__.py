"""From a `Recording` to a prepared subject: splits, scaling, guards, resumable writing."""
