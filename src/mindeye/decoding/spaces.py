"""The embedding spaces that a brain is decoded into, and the stimuli of a subject embedded in them.

Axes: S stimuli, N images, K tokens, D width, C H W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.config import LowConfig
from mindeye.config.targets import TargetsConfig
from mindeye.data.subject import Subject
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes
from mindeye.seeds import derive_seed
from mindeye.targets.augment import recolour
from mindeye.targets.autoencoders import Autoencoder, load_autoencoder
from mindeye.targets.encoders import Encoder, load_encoder
from mindeye.targets.store import read_embeddings, write_embeddings
from mindeye.targets.views import (
    RecomputedTargets,
    StoredTargets,
    TargetSource,
    view_names,
    write_views,
)

Prepare = Callable[[torch.Tensor, range], torch.Tensor]


@dataclass(frozen=True)
class TargetSpaces:
    """Image encoder, autoencoder and encoder of maps, each loaded when it is first asked for.

    Parameters
    ----------
    config
        Names of the models and what is taken of them.
    device
        Device that the models run on.
    weights
        Folder in which published models are looked up; None looks in the usual places.
    given
        Encoder object that takes the place of the one that `config` names.
    """

    config: TargetsConfig
    device: torch.device
    weights: Path | None = None
    given: Encoder | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder whose embeddings are decoded."""
        config = self.config
        return load_encoder(
            config.encoder if self.given is None else self.given,
            device=self.device,
            tokens=config.tokens,
            weights=self.weights,
        )

    @cached_property
    def vae(self) -> Autoencoder:
        """The autoencoder of the low-level pipeline."""
        config = self.config
        return load_autoencoder(
            config.vae, device=self.device, size=config.vae_size, weights=self.weights
        )

    @cached_property
    def maps_encoder(self) -> Encoder:
        """The encoder of the low-level pipeline's contrastive maps."""
        config = self.config
        if not config.maps:
            return self.encoder
        return load_encoder(
            config.maps, device=self.device, size=config.maps_size, weights=self.weights
        )

    def decode(self, latents: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
        """Return images (S, 3, H, W) of latents (S, C, h, w), so many of them at a time."""
        return torch.cat([self.vae.decode(part) for part in torch.split(latents, batch_size)])

    def sizes(self, voxels: int) -> Sizes:
        """Return the sizes that the data give the networks, for betas of so many voxels."""
        return Sizes(voxels, self.encoder.tokens, self.encoder.width, self.vae.shape)

    def maps_shape(self, low: LowConfig) -> tuple[int, int] | None:
        """Return (P, M) of the maps that a low-level pipeline is contrasted with, None for none.

        The maps are the patch tokens of `targets.maps`, or of the encoder itself, without the class
        token where there is one.
        """
        if low.contrastive_weight == 0:
            return None
        encoder = self.maps_encoder
        return (encoder.tokens - int(encoder.has_class_token), encoder.width)

    def maps_names(self) -> tuple[str, str]:
        """Return the names of the arrays of maps: of the images, and of the same recoloured."""
        if self.config.maps:
            return "maps", "maps_recoloured"
        return "tokens", "tokens_recoloured"


@dataclass(frozen=True)
class EmbeddedSubject:
    """A subject and the embeddings of its stimuli, kept in a folder and memory-mapped.

    Parameters
    ----------
    subject
        Betas, trials and stimuli.
    spaces
        Models that embed the stimuli.
    folder
        Folder of the embedding store.
    seed
        Seed of augmentations, and of whatever is trained on these embeddings.
    """

    subject: Subject
    spaces: TargetSpaces
    folder: Path
    seed: int

    def rows(self, stimulus_ids: list[str]) -> NDArray[np.int64]:
        """Return the rows of stimuli in the embedding store."""
        return np.array([self.subject.row_of_stimulus[s] for s in stimulus_ids])

    def mean_betas(self, stimulus_ids: list[str]) -> torch.Tensor:
        """Return betas (S, V) averaged over the repeats of each stimulus."""
        return torch.from_numpy(self.subject.betas_of(stimulus_ids))

    def fingerprint(self, model: Encoder | Autoencoder) -> str:
        """Return the identity of embeddings: model, weights, versions and stimuli."""
        return f"{model.fingerprint}-{self.subject.fingerprint}"

    def embeddings(self, name: str) -> NDArray[np.floating]:
        """Open embeddings of all stimuli: tokens, a view of them, maps, or latents.

        They are float32 or float16, as they are stored.
        """
        model: Encoder | Autoencoder = self.spaces.encoder
        if name == "latents":
            model = self.spaces.vae
        elif name.startswith("maps"):
            model = self.spaces.maps_encoder
        return read_embeddings(self.folder, name, fingerprint=self.fingerprint(model))

    def targets(self) -> TargetSource:
        """Return the tokens that a high-level pipeline trains towards: stored, views, or anew."""
        config, encoder = self.spaces.config, self.spaces.encoder
        if config.augmentation == "recomputed":
            return RecomputedTargets(
                encoder.encode, self.subject.pictures, size=encoder.size, device=self.spaces.device
            )
        names = view_names(config.views) if config.augmentation == "cached" else ["tokens"]
        return StoredTargets([self.embeddings(name) for name in names])

    def embed(
        self,
        *,
        latents: bool = True,
        low: LowConfig | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Embed every stimulus; what is there already stays, what was cut off goes on.

        Parameters
        ----------
        latents
            Whether the autoencoder's latents are wanted beside the tokens.
        low
            Configuration of a low-level pipeline, whose maps are then embedded too.
        processes
            Process group that shares the work; every process makes this call.
        """
        jobs: dict[str, tuple[Encoder | Autoencoder, Prepare | None]] = {
            "tokens": (self.spaces.encoder, None)
        }
        if latents:
            jobs["latents"] = (self.spaces.vae, None)
        if low is not None and self.spaces.maps_shape(low) is not None:
            plain, recoloured = self.spaces.maps_names()
            jobs[plain] = (self.spaces.maps_encoder, None)
            jobs[recoloured] = (self.spaces.maps_encoder, self._recoloured)
        config = self.spaces.config
        for name, (model, prepare) in jobs.items():
            write_embeddings(
                self.folder,
                name,
                model.encode,
                self.subject.pictures,
                fingerprint=self.fingerprint(model),
                batch_size=config.batch_size,
                prepare=prepare,
                stored=config.stored,
                processes=processes,
            )
        if config.augmentation == "cached":
            write_views(
                self.folder,
                self.spaces.encoder,
                self.subject.pictures,
                seed=self.seed,
                count=config.views,
                fingerprint=self.fingerprint(self.spaces.encoder),
                batch_size=config.batch_size,
                size=self.spaces.encoder.size,
                stored=config.stored,
                processes=processes,
            )

    def _recoloured(self, images: torch.Tensor, rows: range) -> torch.Tensor:
        return recolour(images, seeds=[derive_seed(self.seed, row) for row in rows])
