"""The embedded CLIP: pictures of scenes against their captions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from mindeye.data.scenes import (
    ATTRIBUTE_NAMES,
    CATEGORIES,
    COLOURS,
    TEXTURES,
    Scene,
    caption,
    make_scenes,
)
from zoo_data import GRID, attribute_table, patch_labels, training_pictures, training_scenes
from zoo_training import Budget, Recipe, fit, write_record

WIDTH = 64
LONGEST = 48
START, END = "<|startoftext|>", "<|endoftext|>"
BATCH = 80


def build_tokenizer() -> CLIPTokenizer:
    """Learn byte pairs from captions until every word of the scenes is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4000, end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz,."),
    )  # fmt: skip
    learner.train_from_iterator((caption(s) for s in make_scenes(4000, seed=0)), trainer)
    model = json.loads(learner.to_str())["model"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.-'!?"
    words = [
        *letters,
        *(f"{c}</w>" for c in letters),
        *sorted(model["vocab"], key=model["vocab"].get),
    ]
    # CLIP pools at the end token; giving it the highest number suits old and new pooling code.
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*words, START, END]))}
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=LONGEST,
        unk_token=END, bos_token=START, eos_token=END, pad_token=END,
    )  # fmt: skip


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained CLIP of about 2 M parameters."""
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={
            **tower, **ends, "num_hidden_layers": 2, "vocab_size": len(tokenizer),
            "max_position_embeddings": LONGEST, "projection_dim": WIDTH, "hidden_act": "gelu",
        },
        vision_config={
            **tower, "num_hidden_layers": 4, "image_size": 64, "patch_size": 64 // GRID,
            "projection_dim": WIDTH, "hidden_act": "gelu",
        },
        projection_dim=WIDTH,
    )  # fmt: skip
    return CLIPModel(config)


def image_tokens(model: CLIPModel, images: Tensor) -> Tensor:
    """Return all tokens (N, K, D) over the norm of the class token; images in [-1, 1]."""
    hidden = model.vision_model(pixel_values=images).last_hidden_state
    tokens = model.visual_projection(model.vision_model.post_layernorm(hidden)).float()
    return tokens / tokens[:, :1].norm(dim=-1, keepdim=True)


def text_embedding(model: CLIPModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Return unit-norm caption embeddings (N, D)."""
    batch = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    pooled = model.text_model(**batch).pooler_output
    return F.normalize(model.text_projection(pooled).float(), dim=-1)


def to_pixels(pictures: np.ndarray) -> Tensor:
    """Turn uint8 pictures (N, H, W, 3) into (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Pupil(nn.Module):
    """CLIP with the heads that keep its tokens informative during training."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.whole = nn.Linear(WIDTH, len(ATTRIBUTE_NAMES))
        sizes = (len(CATEGORIES) + 1, len(COLOURS) + 1, len(TEXTURES) + 1)
        self.kinds = nn.ModuleList(nn.Linear(WIDTH, size) for size in sizes)
        self.look = nn.Linear(WIDTH, 48 + 8)


def _place_code() -> Tensor:
    """Return sines and cosines of every patch's row and column, (K - 1, 8)."""
    axis = (torch.arange(GRID) + 0.5) / GRID * torch.pi
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    waves = [f(k * v) for v in (rows, columns) for k in (1, 2) for f in (torch.sin, torch.cos)]
    return torch.stack(waves, -1).reshape(GRID * GRID, 8)


def train_clip(out: Path, work: Path, budget: Budget) -> None:
    """Train contrastively, with attributes and patch contents as side tasks."""
    torch.manual_seed(budget.seed)
    tokenizer = build_tokenizer()
    pupil = Pupil(build_model(tokenizer))
    scenes = training_scenes()
    pictures = training_pictures(work, scenes)
    table = torch.from_numpy(attribute_table(scenes))
    labels = torch.from_numpy(patch_labels(scenes)).long()
    places = _place_code()

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([budget.seed, 1, step])
        rows = np.sort(rng.integers(len(scenes), size=BATCH))
        images = _jitter(to_pixels(pictures[rows]), rng)
        captions = [_shuffled_caption(scenes[row], rng) for row in rows]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens = image_tokens(pupil.clip, images)
            texts = text_embedding(pupil.clip, tokenizer, captions)
        pooled, patches = tokens[:, 0], tokens[:, 1:]
        scale = pupil.clip.logit_scale.clamp(max=4.2).exp()
        logits = scale * texts @ pooled.T
        truth = torch.arange(BATCH)
        match = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
        whole = F.mse_loss(pupil.whole(pooled), table[rows])
        kinds = sum(
            F.cross_entropy(head(patches).flatten(0, 1), labels[rows, :, i].flatten())
            for i, head in enumerate(pupil.kinds)
        )
        small = F.avg_pool2d(images, 2)  # (N, 3, 32, 32): 4 x 4 pixels a patch
        pixels = F.unfold(small, 4, stride=4).transpose(1, 2)
        seen = pupil.look(patches)
        look = F.mse_loss(seen[..., :48], pixels) + 0.3 * F.mse_loss(
            seen[..., 48:], places.expand(BATCH, -1, -1)
        )
        norms = (patches.norm(dim=-1) - 1).square().mean()
        total = match + 5 * whole + 0.3 * kinds + look + 0.1 * norms
        top1 = (logits.argmax(1) == truth).float().mean()
        return total, {
            "match": match.item(), "top1": top1.item(), "whole": whole.item(),
            "kinds": float(kinds), "look": look.item(), "norms": norms.item(),
        }  # fmt: skip

    def export(model: nn.Module, record: dict[str, object]) -> None:
        clip = CLIPModel(pupil.clip.config)
        clip.load_state_dict(model.clip.state_dict())  # type: ignore[union-attr]
        clip.half().save_pretrained(out, safe_serialization=True)
        tokenizer.save_pretrained(out)
        half = [0.5, 0.5, 0.5]
        CLIPImageProcessor(
            size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64},
            image_mean=half, image_std=half,
        ).save_pretrained(out)  # fmt: skip
        write_record(out, {**record, "scenes": len(scenes)})

    fit(Recipe("clip", pupil, loss, export, learning_rate=1.5e-3, weight_decay=0.05), budget, work)


def _jitter(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary light and colour balance a little: captions name colours, so only a little."""
    gain = torch.from_numpy(rng.uniform(0.92, 1.08, (len(images), 3, 1, 1)).astype(np.float32))
    return ((images + 1) * gain - 1).clamp(-1, 1)


def _shuffled_caption(scene: Scene, rng: np.random.Generator) -> str:
    return caption(scene, order=rng.permutation(len(scene.objects)))
