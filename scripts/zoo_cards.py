"""Model cards of the embedded models, filled from what was measured and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """---
license: mit
library_name: {library}
tags:
{tags}
---

# {title}

{summary}

It is a toy with the interface of the real thing: `mindeye` loads it through the same
`from_pretrained` as full-size models, so that the whole journey from betas to pictures can be run,
tested and understood on a laptop. **It knows nothing but the procedural scenes of
`mindeye.data.scenes`**, and no number obtained with it says anything about a person's brain or
about natural photographs.

## Architecture

{architecture}

{parameters:,} parameters, float16 safetensors, {megabytes} MB.

## Data

{scenes:,} procedural scenes of 64 x 64 pixels (data set seed 20230529; 14 categories, 10 colours,
4 textures, 8 settings, one to three objects). Nobody's pictures, no personal data. Numbers below
come from scenes of another seed ({held_out_seed}).

## Training

    python scripts/train_zoo.py {member} --minutes {budget} --seed {seed} --threads {threads}

{trained_steps:,} steps, {trained_minutes} minutes of wall time on 2 CPU cores shared with other
work, no GPU. {objective} A run by `--minutes` depends on the speed of the machine; give
`--steps {trained_steps}` for one that repeats.
{note}
## Measured

Written by `python scripts/train_zoo.py measure`, n = {n} held-out scenes{draws}.

{table}

## Limits

{limits}
"""

TEXTS: dict[str, dict[str, str]] = {
    "clip": {
        "library": "transformers",
        "title": "mindeye zoo: CLIP",
        "tags": "- clip\n- feature-extraction\n- toy-model",
        "summary": "A small `transformers` CLIPModel for pictures of procedural scenes and their "
        "captions.",
        "architecture": "Vision tower: 64 x 64 pixels, patches of 8 (65 tokens), width 128, "
        "4 layers. Text tower: width 128, 2 layers, byte-pair vocabulary learnt from the captions, "
        "at most 48 tokens. Projection to 64. Recipe of the tokens: "
        "`visual_projection(post_layernorm(last_hidden_state))` divided by the norm of token 0.",
        "objective": "Symmetric contrastive loss over batches of 80 with object clauses in random "
        "order and slight colour jitter, plus side tasks that were thrown away afterwards: the "
        "scene's attributes from token 0; category, colour, texture, coarse pixels and position "
        "from each patch token; a pull of patch norms towards the class token's.",
        "limits": "It reads only the words of the scenes' captions. Anything but a scene gives "
        "meaningless embeddings.",
    },
    "vae": {
        "library": "diffusers",
        "title": "mindeye zoo: autoencoder",
        "tags": "- autoencoder\n- toy-model",
        "summary": "A small `diffusers` AutoencoderKL: 3 x 64 x 64 pixels to 32 x 8 x 8 latents.",
        "architecture": "Channels 16, 32, 96, 96 from fine to coarse, one residual block a level, "
        "no attention. Latents are the mode of the posterior; each channel has mean 0, deviation "
        "1 over scenes (in the 1 x 1 convolutions), so `scaling_factor` is 1.",
        "objective": "Absolute plus squared error over batches of 12, a slight KL term; averaged "
        "weights.",
        "limits": "Fine textures and thin lines come out soft. No photographs.",
    },
    "generator": {
        "library": "diffusers",
        "title": "mindeye zoo: generator",
        "tags": "- diffusion\n- image-generation\n- toy-model",
        "summary": "A small `diffusers` UNet2DConditionModel that draws a scene's latents from the "
        "65 x 64 tokens of the zoo's CLIP; the zoo's autoencoder turns latents into pixels.",
        "architecture": "An 8 x 8 grid with 64 channels and a 4 x 4 grid with 128, one residual "
        "block and one cross-attention a level. Linear betas .0001 to .02, 1,000 timesteps, "
        "v-prediction; UniPC sampler.",
        "objective": "v-prediction error over batches of 32, tokens replaced by zeros one time in "
        "ten (classifier-free guidance) and shaken by noise of random strength, so that imperfect "
        "tokens predicted from a brain do not break it; averaged weights.",
        "limits": "It belongs to exactly these CLIP and autoencoder weights.",
    },
}


def write_cards(zoo: Path) -> None:
    """Write ``README.md`` into the folder of every member that exists."""
    measured = json.loads((zoo / "measured.json").read_text())
    for member, texts in TEXTS.items():
        record_file = zoo / member / "training.json"
        if not record_file.exists() or member not in measured:
            continue
        record, numbers = json.loads(record_file.read_text()), measured[member]
        draws = measured["held_out"]["draws"]
        card = HEAD.format(
            member=member,
            **texts,
            parameters=numbers["parameters"],
            megabytes=numbers["megabytes"],
            scenes=record["scenes"],
            held_out_seed=measured["held_out"]["seed"],
            seed=record["seed"],
            threads=record["threads"],
            budget=f"{record['minutes']:g}",
            trained_steps=record["trained_steps"],
            trained_minutes=record["trained_minutes"],
            note=_note(record),
            n=measured["held_out"]["n"],
            draws=f", mean and lowest of {draws} such draws" if member == "clip" else "",
            table=_table(numbers),
        )
        (zoo / member / "README.md").write_text(card)


def _note(record: dict[str, Any]) -> str:
    """Say what came before and after the main training."""
    parts = [record["note"]] if record.get("note") else []
    if "decoder_trained_steps" in record:
        parts.append(
            f"Then `python scripts/train_zoo.py decoder`: {record['decoder_trained_steps']:,} "
            f"steps ({record['decoder_trained_minutes']} minutes) of the decoder alone; encoder "
            "and latents stayed."
        )
    return "".join(f"\n{part}\n" for part in parts)


def _table(numbers: dict[str, Any]) -> str:
    """Lay out a member's numbers as Markdown, one row a number or one row a setting."""
    plain = {
        name: value
        for name, value in numbers.items()
        if name not in ("parameters", "megabytes", "settings")
    }
    lines = ["| number | value |", "|---|---|"]
    lines += [f"| `{name}` | {_shown(value)} |" for name, value in plain.items()]
    rows = numbers.get("settings", [])
    if rows:
        heads = list(rows[0])
        lines += ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        lines += ["| " + " | ".join(_shown(row[head]) for head in heads) + " |" for row in rows]
        lines += ["", "`own_scene_top1`: the drawn picture's pooled embedding finds its own scene "
                  "among the held-out ones (chance 1 / n). `token_noise`: noise added to the true "
                  "tokens, as a share of their deviation."]  # fmt: skip
    return "\n".join(lines)


def _shown(value: float | int) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
