"""Published models that a run can use: one table of ids, revisions, files, sizes and licences.

Where the entries are from: nothing could be asked of the hub when they were written. A commit is
one that public code or its documentation pins for that very id; where none was found the revision
is a tag or branch, which can move, and `pinned` is False. Sizes are file sizes that such code
states, or numbers of parameters times bytes each. Licences are what such code or the libraries'
own tables give for the model card; the card decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from mindeye.errors import ConfigError

PICKLE_NAMES = {
    "model": "pytorch_model",
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "open_clip_model": "open_clip_pytorch_model",
}
"""Stem of a weights file as safetensors -> as pickle, as the libraries name the two."""


class Weights(NamedTuple):
    """A weights file: its path as safetensors within the model's folder, about how many bytes."""

    path: str
    about: int


@dataclass(frozen=True)
class Model:
    """A published model.

    Parameters
    ----------
    id
        Hub id, ``ORG/NAME``.
    revision
        Commit, tag or branch that is downloaded.
    weights
        Weights files that are needed; one may be there in shards or, if allowed, as a pickle.
    settings
        Small files that are needed beside them.
    format
        ``pickle`` where the revision is known to have no safetensors; such files are downloaded
        only on request and rewritten as safetensors at once.
    licence
        Licence as the model card names it.
    use
        Purpose of the model in this package.
    note
        What one should know before relying on it; where the revision and sizes are from.
    """

    id: str
    revision: str
    weights: tuple[Weights, ...]
    settings: tuple[str, ...]
    format: Literal["safetensors", "pickle"]
    licence: str
    use: str
    note: str

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which cannot move as tags and branches can."""
        return is_commit(self.revision)

    @property
    def size(self) -> int:
        """About how many bytes all its weights are."""
        return sum(file.about for file in self.weights)

    def wanted(self, inside: str = "") -> tuple[Weights, ...]:
        """Return the weights files below a folder, or the one of that name; all for "".

        Raises
        ------
        ConfigError
            If the table lists none there; names those it lists.
        """
        found = tuple(f for f in self.weights if within(f.path, inside))
        if not found:
            known = ", ".join(file.path for file in self.weights)
            raise ConfigError(f"{self.id} has no weights known at {inside!r}; known: {known}")
        return found


def within(path: str, inside: str) -> bool:
    """Whether a path is that file or lies below that folder; every path is within ""."""
    return not inside or path == inside or path.startswith(f"{inside}/")


def is_commit(revision: str) -> bool:
    """Tell a full commit hash from a tag or branch."""
    return len(revision) == 40 and set(revision) <= set("0123456789abcdef")


def pickle_of(weights: str) -> str:
    """Return what a safetensors file is called where it is published as a pickle."""
    folder, slash, name = weights.rpartition("/")
    stem = name.removesuffix(".safetensors")
    return f"{folder}{slash}{PICKLE_NAMES.get(stem, stem)}.bin"


def split_name(name: str) -> tuple[str, str]:
    """Split ``ORG/NAME/INSIDE`` into the hub id and the path inside of it, "" for all of it."""
    parts = name.strip("/").split("/")
    return "/".join(parts[:2]), "/".join(parts[2:])


UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
ENCODER = "image_encoder/model.safetensors"
KL_BYTES = 334_643_276
"""The autoencoder of Stable Diffusion 1.x, 83.65 M parameters in float32: the file's size."""
UNET_BYTES = 3_438_167_536
"""The UNet of Stable Diffusion 1.x, 859.5 M parameters in float32."""
VIT_L_BYTES = 1_215_900_000
"""CLIP ViT-L/14's image tower with its projection, 304 M parameters in float32."""


def _tokenizer(folder: str) -> tuple[str, ...]:
    """Return the files of a CLIP tokenizer."""
    names = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
    return tuple(f"{folder}/{name}" for name in names)


_PINNED = "revision as public code pins it"
_UNPINNED = "no commit found that public code pins: the branch can move, mindeye_model.json has it"

_ALL = (
    Model(
        "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41",
        (Weights("model.safetensors", 1_710_540_580),), ("config.json", "preprocessor_config.json"),
        "safetensors", "check the card (the code is MIT)",
        "encoder: 257 x 768 tokens or 768 pooled (MindEye 1)",
        f"{_PINNED}; 427.6 M parameters in float32, text tower included",
    ),
    Model(
        "timm/resnet50_clip.openai", "ec3d92cf63a5f9d591f0d611b736895966c73076",
        (Weights("open_clip_model.safetensors", 408_291_932),), ("open_clip_config.json",),
        "safetensors", "mit", "encoder: CLIP RN50, 1,024 pooled (open_clip)",
        f"{_PINNED}, with the file's size; licence from timm's table",
    ),
    Model(
        "timm/vit_base_patch32_clip_224.openai", "a6f597a30f7b82c51704746581f9a4e41421e878",
        (Weights("open_clip_model.safetensors", 605_200_000),), ("open_clip_config.json",),
        "safetensors", "apache-2.0", "encoder: CLIP ViT-B/32 of OpenAI, 512 pooled (open_clip)",
        f"{_PINNED}; 151.3 M parameters in float32; licence from timm's table",
    ),
    Model(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf",
        (Weights("open_clip_model.safetensors", 605_157_884),), ("open_clip_config.json",),
        "safetensors", "mit", "encoder: CLIP ViT-B/32 of LAION, 512 pooled (open_clip)",
        f"{_PINNED}, with the size of the same weights in the other layout",
    ),
    Model(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        (Weights("open_clip_model.safetensors", 3_944_517_836),), ("open_clip_config.json",),
        "safetensors", "mit", "encoder: CLIP ViT-H/14, 1,024 pooled (IP-Adapter SD 1.5, unCLIP)",
        f"{_PINNED}, with the file's size",
    ),
    Model(
        "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "743c27bd53dfe508a0ade0f50698f99b39d03bec",
        (Weights("open_clip_model.safetensors", 10_160_000_000),), ("open_clip_config.json",),
        "pickle", "mit", "encoder: CLIP ViT-bigG/14, 1,280 pooled (open_clip)",
        f"{_PINNED}; code that pins it loads open_clip_pytorch_model.bin, 2.54 G parameters",
    ),
    Model(
        "facebook/dinov2-large", "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        (Weights("model.safetensors", 1_217_522_888),), ("config.json", "preprocessor_config.json"),
        "safetensors", "apache-2.0", "encoder: 257 x 1,024 tokens",
        f"{_PINNED}; 304.4 M parameters in float32",
    ),
    Model(
        "google/siglip2-so400m-patch14-384", "e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
        (Weights("model.safetensors", 4_544_143_072),), ("config.json", "preprocessor_config.json"),
        "safetensors", "apache-2.0", "encoder: 729 x 1,152 tokens or 1,152 pooled",
        f"{_PINNED}, with the file's size",
    ),
    Model(
        "timm/convnext_xlarge.fb_in22k", "main",
        (Weights("model.safetensors", 1_572_000_000),), ("config.json",),
        "safetensors", "apache-2.0", "maps of the low-level contrastive term",
        f"{_UNPINNED}; 393 M parameters in float32; the authors used VICRegL's ConvNeXt-XL, which "
        "is not on the hub; licence from timm's table",
    ),
    Model(
        "stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493",
        (Weights("diffusion_pytorch_model.safetensors", KL_BYTES),), ("config.json",),
        "safetensors", "mit", "autoencoder: Stable Diffusion's, decoder refined",
        f"{_PINNED}, with the file's size",
    ),
    Model(
        "madebyollin/taesd", "614f76814bbe30edbe2e627ace1c2234c81a2c0e",
        (Weights("diffusion_pytorch_model.safetensors", 9_793_292),), ("config.json",),
        "safetensors", "mit", "autoencoder: Stable Diffusion's latents in 2.45 M parameters",
        f"{_PINNED}, with the file's size",
    ),
    Model(
        "shi-labs/versatile-diffusion", "2926f8e11ea526b562cd592b099fcf9c2985d0b7",
        (Weights("image_unet/diffusion_pytorch_model.safetensors", UNET_BYTES),
         Weights(VAE, KL_BYTES), Weights(ENCODER, VIT_L_BYTES)),
        ("model_index.json", "image_unet/config.json", "vae/config.json",
         "image_encoder/config.json", "scheduler/scheduler_config.json",
         "image_feature_extractor/preprocessor_config.json"),
        "pickle", "mit", "generator from 257 x 768 tokens (MindEye 1)",
        "revision as MindEye 1's code pins it; parameters in float32; published as pickles",
    ),
    Model(
        "lambdalabs/sd-image-variations-diffusers", "v2.0",
        (Weights(UNET, UNET_BYTES), Weights(VAE, KL_BYTES), Weights(ENCODER, VIT_L_BYTES)),
        ("model_index.json", "unet/config.json", "vae/config.json", "image_encoder/config.json",
         "scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"),
        "pickle", "creativeml-openrail-m",
        "generator from 1 x 768; its vae is the low-level space of MindEye 1",
        "the tag that its card asks for; MindEye's code expects it at commit a2a13984, not "
        "confirmed, so the tag is used; parameters in float32; published as pickles",
    ),
    Model(
        "kandinsky-community/kandinsky-2-2-decoder", "9ae140d347fed8ce6e8bb3005dcc1f48543bb8e3",
        (Weights(UNET, 5_012_319_952),
         Weights("movq/diffusion_pytorch_model.safetensors", 271_380_364)),
        ("model_index.json", "unet/config.json", "movq/config.json",
         "scheduler/scheduler_config.json"),
        "safetensors", "apache-2.0", "generator from 1,280 pooled (Kandinsky 2.2)",
        f"{_PINNED}, with the files' sizes",
    ),
    Model(
        "kandinsky-community/kandinsky-2-2-prior", "9fc51ad5732afc5d031724219d22e6c42179c5a8",
        (Weights(ENCODER, 3_689_837_458),),
        ("image_encoder/config.json", "image_processor/preprocessor_config.json"),
        "safetensors", "apache-2.0", "encoder: CLIP ViT-bigG/14, 1,280 pooled, of Kandinsky 2.2",
        f"{_PINNED}, with the file's size",
    ),
    Model(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        (Weights(UNET, UNET_BYTES), Weights(VAE, KL_BYTES),
         Weights("text_encoder/model.safetensors", 492_265_874)),
        ("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
         *_tokenizer("tokenizer"), "scheduler/scheduler_config.json"),
        "safetensors", "creativeml-openrail-m", "base of IP-Adapter's SD 1.5 files",
        f"{_PINNED}; parameters in float32; a mirror of runwayml's, which was deleted",
    ),
    Model(
        "stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b",
        (Weights(UNET, 10_270_077_736), Weights(VAE, KL_BYTES),
         Weights("text_encoder/model.safetensors", 492_265_168),
         Weights("text_encoder_2/model.safetensors", 2_778_702_264)),
        ("model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
         "text_encoder_2/config.json", *_tokenizer("tokenizer"), *_tokenizer("tokenizer_2"),
         "scheduler/scheduler_config.json"),
        "safetensors", "openrail++", "base of IP-Adapter's SDXL files",
        f"{_PINNED}; parameters in float32; its text encoders are for the empty prompt",
    ),
    Model(
        "h94/IP-Adapter", "018e402774aeeddd60609b4ecdb7e298259dc729",
        (Weights("models/ip-adapter_sd15.safetensors", 44_600_000),
         Weights("models/image_encoder/model.safetensors", 2_530_000_000),
         Weights("sdxl_models/ip-adapter_sdxl.safetensors", 703_000_000),
         Weights("sdxl_models/ip-adapter_sdxl_vit-h.safetensors", 698_000_000),
         Weights("sdxl_models/image_encoder/model.safetensors", 3_690_000_000)),
        ("models/image_encoder/config.json", "sdxl_models/image_encoder/config.json"),
        "safetensors", "apache-2.0",
        "generator from 1,024 (SD 1.5, ViT-H) or 1,280 (SDXL, ViT-bigG) pooled, with its encoders",
        f"{_PINNED}; parameters of the two image towers and of the adapters",
    ),
    Model(
        "sd2-community/stable-diffusion-2-1-unclip", "main",
        (Weights(UNET, 3_475_000_000), Weights(VAE, KL_BYTES), Weights(ENCODER, 2_530_000_000),
         Weights("text_encoder/model.safetensors", 1_361_000_000),
         Weights("image_normalizer/diffusion_pytorch_model.safetensors", 8_352)),
        ("model_index.json", "unet/config.json", "vae/config.json", "image_encoder/config.json",
         "text_encoder/config.json", "image_normalizer/config.json", *_tokenizer("tokenizer"),
         "scheduler/scheduler_config.json", "image_noising_scheduler/scheduler_config.json",
         "feature_extractor/preprocessor_config.json"),
        "safetensors", "openrail++", "generator from 1,024 pooled (Stable unCLIP)",
        f"{_UNPINNED}; Stability AI deleted stabilityai/stable-diffusion-2-* in November 2025 "
        "(huggingface/diffusers issue 12874), this mirror is not theirs; parameters in float32",
    ),
)  # fmt: skip

MODELS: dict[str, Model] = {model.id: model for model in _ALL}
"""Every model by its hub id; a new one is an entry above."""

_IP = "h94/IP-Adapter"
ADAPTER_BASES: dict[str, tuple[str, str]] = {
    f"{_IP}/models/ip-adapter_sd15.safetensors": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5", f"{_IP}/models/image_encoder",
    ),
    f"{_IP}/sdxl_models/ip-adapter_sdxl.safetensors": (
        "stabilityai/stable-diffusion-xl-base-1.0", f"{_IP}/sdxl_models/image_encoder",
    ),
    f"{_IP}/sdxl_models/ip-adapter_sdxl_vit-h.safetensors": (
        "stabilityai/stable-diffusion-xl-base-1.0", f"{_IP}/models/image_encoder",
    ),
}  # fmt: skip
"""Adapter file -> (base model it was trained on, encoder of the embeddings it takes)."""
