"""What it takes to believe a score: floors, and the same score under harder conditions."""
