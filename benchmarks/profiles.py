"""Ways to run the same optimisation step, to be set side by side.

All share the published objective: the same networks, losses, mixing, noise and dropout. They
differ in what a step costs.
"""

from __future__ import annotations

from mindeye.config import RunConfig
from mindeye.config.settings import preset_content, run_config
from mindeye.errors import ConfigError

PROFILES: dict[str, tuple[str, list[str]]] = {
    "as_published": (
        "float32, AdamW parameter by parameter, attention written out, no clipping",
        [],
    ),
    "fast": (
        "bfloat16 products, fused AdamW, fused attention",
        ["precision=bf16", "fused=true", "attention=sdpa"],
    ),
    "small_pages": (
        "as fast, on the system's 4 KB memory pages, as the published one is",
        ["precision=bf16", "fused=true", "attention=sdpa"],
    ),
    "lean": (
        "as fast, Adafactor instead of AdamW, activations recomputed",
        ["precision=bf16", "optimizer=adafactor", "attention=sdpa", "recompute=true"],
    ),
    "lean_adamw": (
        "as fast, activations recomputed",
        ["precision=bf16", "fused=true", "attention=sdpa", "recompute=true"],
    ),
    "lean_head": (
        "as lean, with the token-shared output head: another, smaller network",
        ["precision=bf16", "optimizer=adafactor", "attention=sdpa", "recompute=true",
         "head=shared", "head_width=64"],
    ),
}  # fmt: skip

PLACES = {"attention": "high.prior", "head": "high.decoder", "head_width": "high.decoder"}
"""Where a profile's field lives in a run's configuration; the others are the optimiser's."""


def profile_config(
    preset: str, profile: str, *, batch_size: int, more: tuple[str, ...] = ()
) -> RunConfig:
    """Return a preset's configuration under the published objective and a profile.

    Parameters
    ----------
    preset
        Shipped preset or YAML file.
    profile
        One of `PROFILES`.
    batch_size
        Stimuli a step.
    more
        Words ``field=value`` that overrule the profile.

    Raises
    ------
    ConfigError
        If there is no such preset, profile or field.
    """
    if profile not in PROFILES:
        raise ConfigError(f"no profile {profile!r}; known profiles: {', '.join(PROFILES)}")
    words = [
        f"{PLACES.get(word.partition('=')[0], 'high.optim')}.{word}"
        for word in PROFILES[profile][1]
    ]
    words += [f"high.optim.batch_size={batch_size}", *more]
    return run_config(preset_content(preset, as_published=True), words)
