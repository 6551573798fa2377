"""
A network of your own
=====================

The backbone is one entry in `mindeye.DECODERS`: a function of configuration and sizes that returns an
`nn.Module`. Losses, prior, training loop, resuming and saving stay.
"""
