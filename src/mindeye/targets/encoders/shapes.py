"""What full-size encoders give, told without their weights."""

from __future__ import annotations

SHAPES: dict[str, tuple[int, int, int]] = {
    "openai/clip-vit-large-patch14": (257, 768, 224),
    "open_clip RN50": (50, 1024, 224),
    "open_clip ViT-B-32": (50, 512, 224),
    "open_clip ViT-H-14": (257, 1024, 224),
    "open_clip ViT-bigG-14": (257, 1280, 224),
    "facebook/dinov2-large": (257, 1024, 224),
    "google/siglip2-so400m-patch14-384": (729, 1152, 384),
    "timm convnext_xlarge": (49, 2048, 224),
    "timm tf_efficientnet_lite0": (49, 320, 224),
}
"""Model -> tokens K, width D, side of its pictures; compared with models built from their
configurations on torch's meta device in the tests."""
