"""What both trained decoders share: a network, its training in a run's folder, its way back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeVar

from torch import nn

from mindeye.config import HighConfig, LowConfig, RunConfig
from mindeye.config.fingerprints import config_hash
from mindeye.config.settings import run_config
from mindeye.data.subject import load_subject
from mindeye.decoding.estimator import Estimator
from mindeye.decoding.folders import Fitted
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.errors import ConfigError
from mindeye.files import read_json
from mindeye.models.pipelines import read_description
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes

P = TypeVar("P")


class NetworkDecoder(Estimator[P]):
    """An estimator that trains a network: section `_section` of a run, folder of that name."""

    model_: nn.Module
    section_: Any
    """Configuration that the network was trained under."""

    def _fit(self, data: EmbeddedSubject, config: RunConfig, home: Path, *, kept: bool) -> None:
        processes = join_processes(self.device)
        section = getattr(config, self._section)
        models = self._embed(data, section, processes)
        key = config_hash(self._section, section, models, data.subject.fingerprint, self.seed)
        self.fit_embedded(data, section, home / self._section, key=key, processes=processes)

    def fit_embedded(
        self,
        data: EmbeddedSubject,
        config: HighConfig | LowConfig,
        folder: Path,
        *,
        key: str,
        processes: Processes,
    ) -> Self:
        """Train on a subject whose stimuli are embedded; a run's training stages make this call.

        Parameters
        ----------
        data
            Subject and embeddings of its stimuli.
        config
            Configuration of the pipeline.
        folder
            Folder of checkpoints and of the trained network.
        key
            Hash of configuration and data; a training of the same key is gone on with.
        processes
            Process group; every process makes this call.
        """
        self.model_ = self._train(data, config, folder, key=key, processes=processes)
        self.spaces_, self.section_ = data.spaces, config
        self._keep(data.subject)
        return self

    @classmethod
    def of_run(cls, data: EmbeddedSubject, config: HighConfig | LowConfig, folder: Path) -> Self:
        """Open what a run's stage has trained on an embedded subject."""
        made = cls(data.spaces.config.encoder, seed=data.seed)
        made.spaces_, made.section_ = data.spaces, config
        made.model_ = made._load(folder, data.spaces.sizes(data.subject.betas.shape[1]))
        made._keep(data.subject)
        return made

    @classmethod
    def _from_run(cls, folder: Path, device: str | None) -> Self:
        """Open the trained state of a run; its subject gives scaler and reference images."""
        content = read_json(folder / "run.json")
        config, name = run_config(content["config"]), cls._section
        if not getattr(config, f"{name}_enabled"):
            raise ConfigError(f"{folder} trained no {name} level ({name}_enabled=false)")
        section = getattr(config, name)
        made = cls(
            config.targets.encoder,
            config={"targets": asdict(config.targets), **asdict(section)},
            seed=config.seed,
            device=device or config.device,
            weights=config.weights,
        )
        made.spaces_, made.section_ = (
            made._spaces(config, join_processes(made.device).device),
            section,
        )
        subject_dir = Path(content["subject_dir"])
        if (subject_dir / "subject.json").is_file():
            subject = load_subject(subject_dir)
            made.model_ = made._load(folder / name, made.spaces_.sizes(subject.betas.shape[1]))
            made._keep(subject)
            return made
        if section.weights:
            raise ConfigError(
                f"{folder}: its subject is not in {subject_dir} any more; put it back"
            )
        sizes = sizes_of(folder / name)
        made.model_, made.fitted_ = (
            made._load(folder / name, sizes),
            Fitted(sizes.voxels, None, None),
        )
        return made

    def _read(self, folder: Path) -> None:
        self.section_ = getattr(self._run_config(), self._section)
        self.model_ = self._load(folder, sizes_of(folder))

    def _embed(self, data: EmbeddedSubject, config: Any, processes: Processes) -> list[str]:
        """Embed what the training needs; return the fingerprints of the models that did it."""
        raise NotImplementedError

    def _train(
        self, data: EmbeddedSubject, config: Any, folder: Path, *, key: str, processes: Processes
    ) -> nn.Module:
        raise NotImplementedError

    def _load(self, folder: Path, sizes: Sizes) -> nn.Module:
        raise NotImplementedError


def sizes_of(folder: Path) -> Sizes:
    """Return the sizes that a model folder was written with."""
    sizes = read_description(folder)["sizes"]
    return Sizes(sizes["voxels"], sizes["tokens"], sizes["width"], tuple(sizes["latents"]))
