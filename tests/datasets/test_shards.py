"""MedARC's shards: written here with the real library, in the published layout and with faults."""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import webdataset as wds
from PIL import Image

from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_writing import write_subject
from mindeye.data.trials import complete_trials
from mindeye.datasets.shards import ShardsConfig, read_shards
from mindeye.datasets.shards_export import ExportConfig, export_shards
from mindeye.errors import DataError, LeakageError, MissingDependencyError

V = 7
CONFIG = ShardsConfig()
Edit = Callable[[dict], object]


def picture(number: int, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng([5, number])
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size)))


def betas_of(number: int, count: int) -> np.ndarray:
    rng = np.random.default_rng([7, number])
    return rng.standard_normal((count, V)).astype(np.float16)


def sample(number: int, coco: int, count: int = 3, **changes: object) -> dict:
    """As MedARC's script writes it: one seen once is there three times, two get their mean."""
    rows = betas_of(number, count)
    if count == 1:
        rows = np.concatenate([rows, rows, rows])
    elif count == 2:
        rows = np.concatenate([rows, np.mean(rows, axis=0)[None]])
    members = {
        "__key__": f"sample{number:09d}",
        "jpg": picture(coco),
        "nsdgeneral.npy": rows,
        "num_uniques.npy": np.array([count]),
        "trial.npy": np.array([10 * number]),
        "coco73k.npy": np.array([coco]),
    }
    members |= {k.replace("__", "."): v for k, v in changes.items()}
    return {k: v for k, v in members.items() if v is not None}


def default_samples() -> dict[str, list[list[dict]]]:
    return {
        "train": [
            [sample(3, 72_999), sample(4, 0, count=1)],
            [sample(5, 41, count=2)],
        ],
        "val": [[sample(0, 7)]],
        "test": [[sample(1, 9, count=2), sample(2, 8)]],
    }


def write_published(root: Path, samples: dict[str, list[list[dict]]]) -> Path:
    for split, shards in samples.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for number, members in enumerate(shards):
            with wds.TarWriter(str(root / split / f"{split}_subj01_{number}.tar")) as tar:
                for member in members:
                    tar.write(member)
    totals = {split: sum(map(len, shards)) for split, shards in samples.items()}
    (root / "metadata_subj01.json").write_text(json.dumps({"totals": totals}))
    return root


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return write_published(tmp_path / "webdataset_avg_split", default_samples())


def test_rows_that_only_fill_a_sample_are_not_taken_for_presentations(published: Path) -> None:
    recording = read_shards(published.parent, CONFIG)
    trials = recording.trials
    assert trials["stimulus_id"].value_counts().to_dict() == {
        "72999": 3, "0": 1, "41": 2, "7": 3, "9": 2, "8": 3,
    }  # fmt: skip
    assert set(trials["session"]) == {0}
    betas = recording.read_betas(0)
    assert betas.dtype == np.float32
    for number, coco, count in [(3, 72_999, 3), (4, 0, 1), (5, 41, 2), (1, 9, 2)]:
        rows = trials.index[trials["stimulus_id"] == str(coco)]
        np.testing.assert_array_equal(betas[rows], betas_of(number, count).astype(np.float32))
        assert trials["first_trial"][rows].tolist() == [10 * number] * count


def test_a_picture_is_in_the_split_of_its_folder_and_has_its_own_pixels(published: Path) -> None:
    recording = read_shards(published, CONFIG)
    split = recording.trials.drop_duplicates("stimulus_id").set_index("stimulus_id")["split"]
    assert split.to_dict() == {
        "72999": "train", "0": "train", "41": "train", "7": "val", "9": "test", "8": "test",
    }  # fmt: skip
    ids = recording.stimuli["stimulus_id"].tolist()
    for stimulus_id, pixels in zip(ids, recording.read_pictures(ids), strict=True):
        wanted = picture(int(stimulus_id)).astype(int)
        others = [picture(int(s)).astype(int) for s in ids if s != stimulus_id]
        error = np.abs(pixels - wanted).mean()
        assert error < 10
        assert all(error < np.abs(pixels - other).mean() / 3 for other in others)


def test_test_statistics_in_the_scaling_are_told(published: Path) -> None:
    assert "test trials" in read_shards(published, CONFIG).scaled


def test_betas_under_another_name_are_read(tmp_path: Path) -> None:
    samples = default_samples()
    for members in [m for shards in samples.values() for shard in shards for m in shard]:
        members["vert.npy"] = members.pop("nsdgeneral.npy")
    root = write_published(tmp_path, samples)
    assert read_shards(root, ShardsConfig(voxels="vert.npy")).read_betas(0).shape == (14, V)
    with pytest.raises(DataError, match=r"no member 'nsdgeneral.npy'.*vert.npy"):
        read_shards(root, CONFIG)


def test_samples_of_one_picture_are_put_together(tmp_path: Path) -> None:
    samples = default_samples()
    samples["train"][1].append(sample(9, 0, count=2))
    recording = read_shards(write_published(tmp_path, samples), CONFIG)
    rows = recording.trials.index[recording.trials["stimulus_id"] == "0"]
    assert recording.trials["repeat"][rows].tolist() == [0, 1, 2]
    wanted = np.concatenate([betas_of(4, 1), betas_of(9, 2)]).astype(np.float32)
    np.testing.assert_array_equal(recording.read_betas(0)[rows], wanted)
    assert recording.stimuli["stimulus_id"].tolist().count("0") == 1


def test_a_picture_in_two_splits_is_refused(tmp_path: Path) -> None:
    samples = default_samples()
    samples["test"][0].append(sample(9, 0, count=2))
    with pytest.raises(LeakageError, match=r"'0' is in both train and test"):
        read_shards(write_published(tmp_path, samples), CONFIG)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def change(split: str, shard: int, place: int, **changes: object) -> Callable[[dict], None]:
    def edit(samples: dict) -> None:
        old = samples[split][shard][place]
        old |= {k.replace("__", "."): v for k, v in changes.items()}
        for key in [k for k, v in old.items() if v is None]:
            del old[key]

    return edit


def add(split: str, member: dict) -> Callable[[dict], None]:
    return lambda samples: samples[split][0].append(member)


MALFORMED: dict[str, tuple[Edit, str]] = {
    "num_uniques missing": (change("train", 0, 1, num_uniques__npy=None), "no member 'num_un"),
    "trial missing": (change("val", 0, 0, trial__npy=None), "no member 'trial.npy'"),
    "coco73k missing": (change("test", 0, 0, coco73k__npy=None), "no member 'coco73k.npy'"),
    "picture missing": (change("test", 0, 0, jpg=None), "no picture"),
    "count too large": (change("train", 0, 0, num_uniques__npy=np.array([4])), "4 presentations"),
    "count zero": (change("train", 0, 0, num_uniques__npy=np.array([0])), "num_uniques is 0"),
    "two numbers": (change("train", 0, 0, coco73k__npy=np.array([1, 2])), "one whole number"),
    "number is text": (change("train", 0, 0, coco73k__npy=np.array(["7"])), "one whole number"),
    "number is NaN": (change("train", 0, 0, coco73k__npy=np.array([np.nan])), "whole number"),
    "header is damaged": (
        change("train", 0, 0, coco73k__npy=npy(np.array([7])).replace(b"}", b"(")),
        "not a plain .npy",
    ),
    "pickled": (
        change("train", 0, 0, coco73k__npy=npy(np.array([{}]), allow_pickle=True)),
        "not a plain .npy",
    ),
    "id from 1": (change("train", 0, 0, coco73k__npy=np.array([73_000])), "from 0 to 72999"),
    "id negative": (change("train", 0, 0, coco73k__npy=np.array([-1])), "from 0 to 72999"),
    "voxels differ": (
        change("test", 0, 1, nsdgeneral__npy=np.ones((3, V + 1), np.float16)),
        "3 presentations of 7 voxels",
    ),
    "betas are whole": (
        change("test", 0, 1, nsdgeneral__npy=np.ones((3, V), np.int16)),
        "floating numbers",
    ),
    "betas are a volume": (
        change("test", 0, 1, nsdgeneral__npy=np.ones((3, V, 2), np.float16)),
        r"\(presentations, voxels\)",
    ),
    "betas are no array": (change("test", 0, 1, nsdgeneral__npy=b"voxels"), "not a plain .npy"),
    "same presentation": (
        add("train", sample(4, 0, count=1) | {"__key__": "again"}),
        "again.*holds the same presentation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_samples_are_named(tmp_path: Path, fault: str) -> None:
    edit, message = MALFORMED[fault]
    samples = default_samples()
    edit(samples)
    root = write_published(tmp_path, samples)
    with pytest.raises(DataError, match=message):
        read_shards(root, CONFIG).read_betas(0)


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.6])
def test_a_shard_that_is_cut_off_is_refused(published: Path, kept: float) -> None:
    shard = published / "train" / "train_subj01_0.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"train_subj01_0.tar.*(cut off|no member)"):
        read_shards(published, CONFIG)


def test_a_shard_cut_between_two_samples_is_refused(published: Path) -> None:
    shard = published / "train" / "train_subj01_0.tar"
    with tarfile.open(shard) as archive:
        ends = [m.offset for m in archive if m.name.startswith("sample000000004")]
    shard.write_bytes(shard.read_bytes()[: min(ends)])
    with pytest.raises(DataError, match=r"lacks the end"):
        read_shards(published, CONFIG)


def test_other_files_in_place_of_shards_are_refused(published: Path) -> None:
    shard = published / "train" / "train_subj01_1.tar"
    shard.write_bytes(b"<html>not found</html>" * 200)
    with pytest.raises(DataError, match="not a plain tar"):
        read_shards(published, CONFIG)
    shard.unlink()
    shard.mkdir()
    with pytest.raises(DataError, match="not a plain tar"):
        read_shards(published, CONFIG)


def test_a_gap_in_the_numbers_of_shards_is_refused(published: Path) -> None:
    (published / "train" / "train_subj01_0.tar").unlink()
    with pytest.raises(DataError, match=r"train_subj01_0.tar is missing"):
        read_shards(published, CONFIG)


def test_no_shards_of_a_subject_is_told(published: Path) -> None:
    with pytest.raises(DataError, match="no shards of subj02"):
        read_shards(published, ShardsConfig(subject="subj02"))


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    samples = default_samples()
    stream = io.BytesIO()
    Image.fromarray(picture(7)).save(stream, "JPEG")
    change("val", 0, 0, jpg=stream.getvalue()[:200])(samples)
    recording = read_shards(write_published(tmp_path, samples), CONFIG)
    with pytest.raises(DataError, match=r"sample000000000.*jpg is not a readable image"):
        list(recording.read_pictures(["7"]))


# ---- export ---------------------------------------------------------------------------------


def make_subject(folder: Path, *, numeric: bool = False, repeats: int = 3) -> Subject:
    """21 stimuli, seen 1 to `repeats` times in two sessions, betas of any size."""
    rng = np.random.default_rng(3)
    ids = [str(100 + 3 * i) if numeric else f"scene/{i:02d}" for i in range(21)]
    shown = np.repeat(np.arange(21), 1 + np.arange(21) % repeats)
    shown = rng.permutation(shown)
    trials = complete_trials(
        pd.DataFrame(
            {
                "session": 1 + (np.arange(len(shown)) >= len(shown) // 2),
                "run": np.arange(len(shown)) // 5,
                "stimulus_id": [ids[i] for i in shown],
            }
        )
    )
    stimuli = pd.DataFrame(
        {
            "stimulus_id": ids,
            "split": ["train"] * 13 + ["val"] * 3 + ["test"] * 5,
            "caption": [f"picture {i}" for i in range(21)],
        }
    )
    return write_subject(
        folder,
        betas=rng.standard_normal((len(shown), 40)).astype(np.float32) * 3,
        trials=trials,
        pictures=np.stack([picture(i) for i in range(21)]),
        stimuli=stimuli,
        voxels=pd.DataFrame({"voxel": np.arange(40), "x": np.arange(40) * 2}),
        info={"subject": "sim07", "source": "test", "units": "z-scored (train)", "simulated": True},
    )


SIM = ShardsConfig(subject="sim07")


@pytest.mark.parametrize(("numeric", "repeats"), [(False, 3), (True, 3), (False, 5)])
def test_what_was_exported_comes_back(tmp_path: Path, numeric: bool, repeats: int) -> None:
    subject = make_subject(tmp_path / "subject", numeric=numeric, repeats=repeats)
    export_shards(subject, tmp_path / "out", ExportConfig(picture="png", per_shard=4))
    recording = read_shards(tmp_path / "out", SIM)

    columns = ["session", "run", "trial", "stimulus_id", "repeat"]
    pd.testing.assert_frame_equal(recording.trials[columns], subject.trials[columns])
    assert recording.sessions == [1, 2]
    for session in recording.sessions:
        rows = recording.rows_of_session(session)
        wanted = np.asarray(subject.betas[rows]).astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(recording.read_betas(session), wanted)
    split = recording.trials.drop_duplicates("stimulus_id").set_index("stimulus_id")["split"]
    assert split.to_dict() == dict(
        zip(subject.stimuli["stimulus_id"], subject.stimuli["split"], strict=True)
    )
    ids = recording.stimuli["stimulus_id"].tolist()
    for stimulus_id, pixels in zip(ids, recording.read_pictures(ids), strict=True):
        np.testing.assert_array_equal(pixels, subject.stimulus(stimulus_id))
    captions = dict(zip(ids, recording.stimuli["caption"], strict=True))
    assert captions[subject.stimuli["stimulus_id"][5]] == "picture 5"
    assert recording.voxels["x"].tolist() == subject.voxels["x"].tolist()
    assert recording.scaled == "z-scored (train)"
    assert recording.info["simulated"] is True


def test_pictures_of_nsd_keep_their_numbers(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject", numeric=True)
    export_shards(subject, tmp_path / "out", ExportConfig())
    url = str(tmp_path / "out" / "val" / "val_sim07_0.tar")
    found = [int(s["coco73k.npy"][0]) for s in wds.WebDataset(url, shardshuffle=False).decode()]
    assert found == [100 + 3 * i for i in (13, 14, 15)]


def test_exports_are_equal_to_the_byte_and_go_on_where_they_were_cut(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject")
    config = ExportConfig(per_shard=4)
    first = export_shards(subject, tmp_path / "a", config)
    again = export_shards(subject, tmp_path / "b", config)
    assert [p.name for p in first] == [p.name for p in again]
    for a, b in zip(first, again, strict=True):
        assert a.read_bytes() == b.read_bytes()

    again[2].unlink()
    metadata = tmp_path / "b" / "metadata_sim07.json"
    content = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**content, "complete": False}))
    with pytest.raises(DataError, match="not finished"):
        read_shards(tmp_path / "b", SIM)
    untouched = again[1].stat().st_mtime_ns
    export_shards(subject, tmp_path / "b", config)
    assert again[2].read_bytes() == first[2].read_bytes()
    assert again[1].stat().st_mtime_ns == untouched


def test_an_export_does_not_mix_with_another(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject")
    export_shards(subject, tmp_path / "out", ExportConfig(per_shard=4))
    with pytest.raises(DataError, match="other shards"):
        export_shards(subject, tmp_path / "out", ExportConfig(per_shard=5))
    (tmp_path / "out" / "metadata_sim07.json").unlink()
    with pytest.raises(DataError, match="other shards"):
        export_shards(subject, tmp_path / "out", ExportConfig(per_shard=4))


def test_a_last_shard_that_is_missing_is_noticed_in_an_export(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject")
    shards = export_shards(subject, tmp_path / "out", ExportConfig(per_shard=4))
    next(p for p in shards if p.name == "train_sim07_3.tar").unlink()
    with pytest.raises(DataError, match="holds 12 samples, the metadata says 13"):
        read_shards(tmp_path / "out", SIM)


def test_betas_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject")
    betas = np.array(subject.betas)
    betas[3, 2] = 1e5
    np.save(tmp_path / "subject" / "betas.npy", betas)
    with pytest.raises(DataError, match="half precision"):
        export_shards(load_subject(tmp_path / "subject"), tmp_path / "out", ExportConfig())
    assert not list((tmp_path / "out").glob("*/.*"))
    with pytest.raises(DataError, match="not finished"):
        read_shards(tmp_path / "out", SIM)


def test_an_export_without_webdataset_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject(tmp_path / "subject")
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(MissingDependencyError, match=r"mindeye\[shards\]"):
        export_shards(subject, tmp_path / "out", ExportConfig())
    assert not (tmp_path / "out").exists()


def test_the_published_loader_reads_our_shards(tmp_path: Path) -> None:
    """The chain of MindEye1's utils.get_dataloaders, member names and all."""
    subject = make_subject(tmp_path / "subject", numeric=True)
    out = tmp_path / "out"
    export_shards(subject, out, ExportConfig(per_shard=4))
    totals = json.loads((out / "metadata_sim07.json").read_text())["totals"]
    assert totals == {"train": 13, "val": 3, "test": 5}
    url = f"{out}/train/train_sim07_{{0..3}}.tar"
    chain = (
        wds.WebDataset(url, resampled=True, nodesplitter=wds.split_by_node, shardshuffle=False)
        .shuffle(500, initial=20, rng=random.Random(42))
        .decode("torch")
        .rename(
            images="jpg;png", voxels="nsdgeneral.npy", trial="trial.npy", coco="coco73k.npy",
            reps="num_uniques.npy",
        )
        .to_tuple("voxels", "images", "coco", "reps", "trial")
        .batched(4, partial=True)
        .with_epoch(12)
    )  # fmt: skip
    seen = set()
    for voxels, images, coco, reps, trial in chain:
        assert voxels.shape == (4, 3, 40)
        assert voxels.dtype == np.float16
        for i in range(4):
            stimulus_id = str(int(coco[i][0]))
            seen.add(stimulus_id)
            rows = subject.rows_by_stimulus[stimulus_id]
            assert int(reps[i][0]) == len(rows)
            assert int(trial[i][0]) == subject.trials["trial"][rows[0]]
            wanted = np.asarray(subject.betas[rows]).astype(np.float16)
            np.testing.assert_array_equal(voxels[i][: len(rows)], wanted)
            pixels = (images[i].permute(1, 2, 0) * 255).numpy()
            assert np.abs(pixels - subject.stimulus(stimulus_id)).mean() < 10
    assert seen <= set(subject.splits["train"])
    assert len(seen) > 6


def test_rows_that_fill_an_exported_sample_are_the_mean_as_published(tmp_path: Path) -> None:
    subject = make_subject(tmp_path / "subject", numeric=True)
    export_shards(subject, tmp_path / "out", ExportConfig())
    url = str(tmp_path / "out" / "test" / "test_sim07_0.tar")
    counts = set()
    for found in wds.WebDataset(url, shardshuffle=False).decode():
        count, rows = int(found["num_uniques.npy"][0]), found["nsdgeneral.npy"]
        counts.add(count)
        assert rows.shape == (3, 40)
        if count < 3:
            mean = rows[:count].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(rows[2], mean, rtol=2e-3, atol=1e-3)
    assert counts == {1, 2, 3}
