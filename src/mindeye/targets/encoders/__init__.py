"""Image encoders: what turns pictures into the embeddings that a brain is decoded into."""

from mindeye.targets.encoders.base import Encoder, check_images, folder_fingerprint
from mindeye.targets.encoders.open_clip import OpenClipEncoder
from mindeye.targets.encoders.pixels import PixelEncoder
from mindeye.targets.encoders.registry import ENCODERS, KINDS, as_encoder, load_encoder
from mindeye.targets.encoders.timm_maps import TimmEncoder
from mindeye.targets.encoders.vision import ClipEncoder, DinoEncoder, SiglipEncoder

__all__ = [
    "ENCODERS",
    "KINDS",
    "ClipEncoder",
    "DinoEncoder",
    "Encoder",
    "OpenClipEncoder",
    "PixelEncoder",
    "SiglipEncoder",
    "TimmEncoder",
    "as_encoder",
    "check_images",
    "folder_fingerprint",
    "load_encoder",
]
