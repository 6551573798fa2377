"""Exported embeddings are the ones the run drew from, whole, resumable and described."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

import mindeye.commands.exporting as exporting
from mindeye.commands.exporting import ExportEmbeddingsConfig, export_embeddings
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.decoding.brain import BrainDecoder
from mindeye.errors import CheckpointError, DataError
from mindeye.files import read_json
from mindeye.runs import Workspace, open_run, run_all, start_run
from small_zoo_run import WORDS


@pytest.fixture(scope="module")
def work(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("exporting") / "run"
    work = start_run(run_config({}, WORDS), small_subject.path, folder)
    run_all(work, until="predict")
    return work


@pytest.fixture(scope="module")
def exported(work: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "out"
    export_embeddings(work, folder)
    return folder


def test_rows_of_the_table_are_the_rows_of_the_samples(work: Workspace, exported: Path) -> None:
    samples = np.load(exported / "samples.npy", mmap_mode="r")
    assert samples.dtype == np.float32
    assert samples.shape == (20 * 3, 65, 64)
    table = parquet.read_table(exported / "embeddings.parquet").to_pydict()
    assert table["row"] == list(range(60))
    assert table["stimulus_id"] == [s for s in work.test_ids for _ in range(3)]
    assert table["candidate"] == [0, 1, 2] * 20
    assert len(set(table["seed"])) == 60
    assert set(table["split"]) == {"test"}
    captions = work.subject.stimuli.set_index("stimulus_id")["caption"]
    assert table["caption"] == [captions[s] for s in table["stimulus_id"]]
    np.testing.assert_array_equal(np.array(table["embedding"], dtype=np.float32), samples[:, 0])
    np.testing.assert_array_equal(np.load(exported / "samples_pooled.npy"), samples[:, 0])


def test_samples_are_those_the_pictures_are_drawn_from(work: Workspace, exported: Path) -> None:
    """All at once, as the stage that draws does it, with that stage's seeds."""
    import torch

    from mindeye.generation.predict import sample_prior
    from mindeye.generation.reconstruct import candidate_seeds
    from mindeye.runs.drawing import predicted

    seeds = candidate_seeds(work.config.seed, 20, 3, purpose=1)
    wanted = sample_prior(
        work.decoder.model_, predicted(work, "backbone").repeat_interleave(3, dim=0),
        work.config.high.prior, seeds=seeds, device=torch.device("cpu"),
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(exported / "samples.npy"), wanted.numpy())
    for name in ("backbone", "contrastive", "latents"):
        np.testing.assert_array_equal(
            np.load(exported / f"{name}.npy"), predicted(work, name).numpy()
        )


def test_the_description_tells_space_norms_run_and_terms(work: Workspace, exported: Path) -> None:
    content = read_json(exported / "embeddings.json")
    assert content["encoder"]["fingerprint"] == work.encoder.fingerprint
    assert (content["encoder"]["tokens"], content["encoder"]["width"]) == (65, 64)
    assert content["normalisation"]["norms_of_true_embeddings"]["median"] == pytest.approx(1)
    lengths = np.linalg.norm(np.load(exported / "samples.npy")[:, 0], axis=1)
    assert content["normalisation"]["norms_of_samples"]["median"] == pytest.approx(
        np.median(lengths), rel=1e-5
    )
    assert content["data"]["licence"].startswith("CC0")
    assert content["files"]["samples.npy"]["shape"] == [60, 65, 64]


def test_an_export_that_was_cut_off_goes_on_to_the_same_bytes(
    work: Workspace, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PRIOR_BATCH", 8)  # blocks of 8 stimuli
    export_embeddings(work, tmp_path / "whole")
    sample, calls = BrainDecoder.sample, []

    def stops(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(BrainDecoder, "sample", stops)
    with pytest.raises(KeyboardInterrupt):
        export_embeddings(work, tmp_path / "cut")
    assert not (tmp_path / "cut" / "embeddings.json").exists()
    partial = tmp_path / "cut" / ".samples.npy.partial"
    with partial.open("ab") as file:
        file.write(b"torn")
    export_embeddings(work, tmp_path / "cut")
    assert len(calls) == 4  # 20 stimuli in blocks of 8: the first is not done again
    for name in ("samples.npy", "contrastive.npy"):
        whole, cut = ((tmp_path / f / name).read_bytes() for f in ("whole", "cut"))
        assert whole == cut
    assert not partial.exists()


def test_a_folder_of_something_else_is_refused(work: Workspace, exported: Path,
                                                tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        export_embeddings(work, tmp_path)
    with pytest.raises(DataError, match="another run or number of candidates"):
        export_embeddings(work, exported, ExportEmbeddingsConfig(candidates=2))


def test_a_run_without_predictions_and_a_broken_one_are_refused(
    work: Workspace, small_subject: Subject, tmp_path: Path
) -> None:
    fresh = start_run(run_config({}, WORDS), small_subject.path, tmp_path / "fresh")
    with pytest.raises(CheckpointError, match="mindeye predict"):
        export_embeddings(fresh, tmp_path / "out")
    shutil.copytree(work.folder, tmp_path / "copy")
    (tmp_path / "copy" / "predict" / "backbone.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(DataError, match=r"backbone\.npy"):
        export_embeddings(open_run(tmp_path / "copy", run_config), tmp_path / "out")
