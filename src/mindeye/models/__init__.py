"""Networks and linear baselines that map betas to targets."""
