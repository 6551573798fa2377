"""The spaces a brain is decoded into: encoders, autoencoders, their cache."""
