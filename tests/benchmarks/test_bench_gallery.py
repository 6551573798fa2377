"""The bench of galleries: what it draws, how it counts, what it chooses; nothing is timed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gallery import GalleryBench, bench_gallery
from benchmarks.gallery_table import (
    MARGIN_RECALL,
    Assumptions,
    choose,
    grid,
    growth,
    plan,
    power_law,
    recall,
    table,
    verdict,
)
from benchmarks.gallery_vectors import BLOCK, Mixture, Synthetic, write_vectors
from mindeye.errors import DataError, UsageError
from mindeye.files import write_json
from mindeye.gallery.gallery import Gallery

pytest.importorskip("faiss")

SMALL = Mixture(width=32, clusters=40, topics=8, directions=8, rank=4, seed=3)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery") / "work"


@pytest.fixture(scope="module")
def bench(work: Path) -> GalleryBench:
    return GalleryBench(
        work=work, vectors=3000, width=32, queries=40, k=5, indices=("ivfpq", "flat"),
        repetitions=1, seed=1, threads=1, nlist=8, part=1300, processes=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def content(bench: GalleryBench) -> dict[str, Any]:
    return bench_gallery(bench)


@pytest.mark.parametrize("part", [700, 5000])
def test_the_same_vectors_are_drawn_whatever_the_size_of_a_part(tmp_path: Path, part: int) -> None:
    paths = write_vectors(tmp_path, SMALL, 5000, part=part)
    joined = np.concatenate([np.load(path) for path in paths])
    whole = np.concatenate([Synthetic(SMALL).block(0), Synthetic(SMALL).block(1)])[:5000]
    assert joined.dtype == np.float16
    np.testing.assert_array_equal(joined, whole)
    assert [len(np.load(path)) for path in paths[:-1]] == [part] * (len(paths) - 1)


def test_vectors_that_are_written_are_not_drawn_again_but_those_of_another_seed_are(
    tmp_path: Path,
) -> None:
    paths = write_vectors(tmp_path, SMALL, 900, part=300)
    paths[1].unlink()
    kept = paths[0].stat().st_mtime_ns
    first = [np.load(path) for path in write_vectors(tmp_path, SMALL, 900, part=300)]
    assert paths[0].stat().st_mtime_ns == kept
    np.testing.assert_array_equal(np.concatenate(first), Synthetic(SMALL).block(0)[:900])
    other = Mixture(**{**vars(SMALL), "seed": 4})
    write_vectors(tmp_path, other, 900, part=300)
    assert not np.array_equal(np.load(paths[0]), first[0])


def test_vectors_lie_in_a_cone_and_in_clusters_of_power_law_sizes() -> None:
    synthetic = Synthetic(Mixture(width=256, seed=5))
    rows = synthetic.block(0).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    cosines = (rows @ rows.T)[np.triu_indices(BLOCK, 1)]
    assert 0.40 < cosines.mean() < 0.55  # the share of the mean is .45
    # The centres alone: two of a cluster share mean and centre, .75.
    sizes = np.diff(synthetic.edges, prepend=0)
    assert sizes[0] / sizes[99] == pytest.approx(100**0.8)
    pairs = np.sort(rows @ rows.T, axis=1)[:, -2]
    assert pairs.mean() > cosines.mean() + 0.25


def test_queries_are_near_the_member_they_were_made_of_and_a_quarter_is_fresh() -> None:
    synthetic = Synthetic(SMALL)
    gallery = np.concatenate([synthetic.block(n) for n in range(3)])[:9000].astype(np.float32)
    queries = synthetic.queries(9000, 80, stream=0)
    assert (queries.members < 0).sum() == 20
    near = queries.members >= 0
    cosines = np.einsum("qd,qd->q", queries.vectors[near], gallery[queries.members[near]])
    assert cosines.mean() == pytest.approx(0.9, abs=0.05)
    assert (queries.vectors[~near] @ gallery.T).max() < 0.9999  # no fresh one is a member
    other = synthetic.queries(9000, 80, stream=1)
    assert not set(queries.members[near]) & set(other.members[other.members >= 0])
    np.testing.assert_array_equal(synthetic.queries(9000, 80, stream=0).vectors, queries.vectors)


def test_recall_counts_true_rows_of_the_own_query_in_any_order() -> None:
    true = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[4, 3, 9, 5], [8, 1, 2, -1]])  # 5, 1 and 2 belong to the other query
    assert recall(found, true) == pytest.approx((2 + 1) / 8)
    assert recall(true[:, ::-1], true) == 1.0


def test_the_point_is_the_fastest_that_is_good_enough_on_tuning_queries_alone() -> None:
    points = [
        {"tuning_recall": 0.99, "tuning_seconds": 3.0, "recall": 1.0, "seconds": 0.1},
        {"tuning_recall": MARGIN_RECALL, "tuning_seconds": 2.0, "recall": 0.0, "seconds": 9.0},
        {"tuning_recall": 0.90, "tuning_seconds": 1.0, "recall": 1.0, "seconds": 0.0},
    ]
    assert choose(points) == 1
    assert choose(points[2:]) == 0
    stripped = [{k: v for k, v in p.items() if k.startswith("tuning_")} for p in points]
    assert choose(stripped) == 1


def test_a_grid_asks_for_no_more_lists_than_there_are() -> None:
    assert {p["nprobe"] for p in grid("ivfpq", 16)} == {4, 8, 16}
    assert grid("flat", 1) == [{}]


def test_recall_of_the_bench_is_that_of_a_naive_search(
    work: Path, content: dict[str, Any], bench: GalleryBench
) -> None:
    mixture = Mixture(width=32, seed=1)
    vectors = Synthetic(mixture).block(0)[:3000].astype(np.float32)
    gallery = Gallery.open(work / "ivfpq")
    np.testing.assert_allclose(gallery.vectors.take(np.arange(3000)), vectors, atol=1e-3)
    queries = np.load(work / "queries.npy")
    true = np.argsort(-(queries @ gallery.vectors.take(np.arange(3000)).T), axis=1)[:, : bench.k]
    chosen = content["indices"]["ivfpq"]["point"]
    point = {name: chosen[name] for name in ("nprobe", "rerank")}
    found = gallery.with_options(**point).searcher.search(queries, bench.k).rows
    hits = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, true, strict=True)]
    ways = content["ways"]
    assert ways["ivfpq:ours"]["recall"] == pytest.approx(np.mean(hits) / bench.k, abs=0.01)
    assert ways["flat:faiss"]["recall"] > 0.99
    assert ways["ivfpq:ours_plain"]["recall"] == ways["ivfpq:faiss_plain"]["recall"]
    assert ways["ivfpq:ours"]["recall"] == pytest.approx(ways["ivfpq:faiss"]["recall"], abs=0.01)


def test_overhead_and_speed_follow_from_the_ways(content: dict[str, Any]) -> None:
    ways, one = content["ways"], content["indices"]["ivfpq"]
    plain = ways["ivfpq:ours_plain"]["single_median"] / ways["ivfpq:faiss_plain"]["single_median"]
    assert one["overhead"]["single"] == pytest.approx(plain - 1)
    assert one["speed_up"]["single"] == pytest.approx(
        ways["exact:ours"]["single_median"] / ways["ivfpq:ours"]["single_median"]
    )
    assert content["indices"]["flat"]["overhead"]["batch"] == pytest.approx(
        ways["flat:faiss"]["queries_per_second"] / ways["flat:ours"]["queries_per_second"] - 1
    )
    assert one["memory"]["one_anonymous"] <= one["memory"]["one_resident"]
    assert one["memory"]["one_anonymous_share"] == pytest.approx(
        one["memory"]["one_anonymous"] / (3000 * 32 * 2)
    )
    assert set(verdict(content)) == {"overhead", "recall", "speed-up", "memory"}
    text = table(content)
    assert "overhead" in text
    assert "NOT met" in text  # a process is larger than so few vectors


def test_parts_are_shared_and_what_was_drawn_is_removed(
    work: Path, content: dict[str, Any]
) -> None:
    files = [work / name / "parts" / "00000.npy" for name in ("exact", "ivfpq", "flat")]
    assert len({file.stat().st_ino for file in files}) == 1
    assert not (work / "vectors").exists()
    assert content["gallery"]["bytes"] >= 3000 * 32 * 2


def test_what_was_built_is_not_built_again_and_another_bench_is_refused(
    work: Path, content: dict[str, Any], bench: GalleryBench
) -> None:
    index = (work / "ivfpq" / "index" / "index.faiss").stat().st_mtime_ns
    short = GalleryBench(**{**vars(bench), "indices": ("ivfpq",), "build_only": True})
    again = bench_gallery(short)
    assert (work / "ivfpq" / "index" / "index.faiss").stat().st_mtime_ns == index
    assert again["indices"]["ivfpq"]["build"] == content["indices"]["ivfpq"]["build"]
    assert not any(name.startswith("exact") for name in again["ways"])
    with pytest.raises(UsageError, match="another bench"):
        bench_gallery(GalleryBench(**{**vars(bench), "seed": 2}))


@pytest.mark.slow
def test_every_step_runs_in_a_process_of_its_own(bench: GalleryBench, tmp_path: Path) -> None:
    alone = GalleryBench(**{**vars(bench), "work": tmp_path / "w", "processes": True,
                            "indices": ("flat",)})  # fmt: skip
    found = bench_gallery(alone)
    assert found["ways"]["flat:ours"]["recall"] > 0.99
    memory = found["indices"]["flat"]["memory"]
    # The process that searches has loaded nothing before it begins.
    assert memory["anonymous_before"] < memory["one_anonymous"] < 2e9


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no index"):
        GalleryBench(tmp_path, indices=("lsh",))
    with pytest.raises(UsageError, match="vectors is 10"):
        GalleryBench(tmp_path, vectors=10)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        bench_gallery(GalleryBench(tmp_path))


def test_a_power_law_is_found_again() -> None:
    sizes = [1e4, 1e5, 1e6, 1e7]
    law = power_law(sizes, [3e-4 * n**1.2 for n in sizes])
    assert law.exponent == pytest.approx(1.2)
    assert law.factor == pytest.approx(3e-4)
    assert law.worst == pytest.approx(1.0)
    assert law.at(5.85e9) == pytest.approx(3e-4 * 5.85e9**1.2)
    bent = power_law([1, 10, 100], [1, 20, 100])
    assert bent.exponent == pytest.approx(1.0)
    assert bent.worst > 1.2
    with pytest.raises(DataError, match="two sizes"):
        power_law([1e4, 1e4], [1, 2])


def grown(content: dict[str, Any], factor: int) -> dict[str, Any]:
    """The same bench as if it had been of another size, every number growing linearly."""
    one = content["indices"]["ivfpq"]
    built = {k: v * factor for k, v in one["build"].items()}
    memory = {k: v * factor for k, v in one["memory"].items()}
    way = content["ways"]["ivfpq:ours"]
    slower = {
        **way,
        "single_median": way["single_median"] * factor,
        "queries_per_second": way["queries_per_second"] / factor,
    }
    return {
        **content,
        "vectors_count": content["vectors_count"] * factor,
        "gallery": {**content["gallery"], "seconds": content["gallery"]["seconds"] * factor},
        "exact": {**content["exact"], "seconds": content["exact"]["seconds"] * factor},
        "indices": {"ivfpq": {**one, "build": built, "memory": memory}},
        "ways": {"exact:ours": content["ways"]["exact:ours"], "ivfpq:ours": slower},
    }


def test_linear_growth_has_exponent_one_and_the_plan_counts_shards(content: dict[str, Any]) -> None:
    ten = grown(content, 10)
    laws = growth([content, ten], "ivfpq")
    assert {round(law.exponent, 6) for law in laws.values()} == {1.0}
    found = plan(ten, "ivfpq", Assumptions(total=3e6, metadata=0, copies=2, core_price=2.0))
    assert found["shards"] == 100
    assert found["index_bytes"] == 2 * 100 * ten["indices"]["ivfpq"]["build"]["bytes"]
    assert found["vector_bytes"] == 64
    seconds = ten["gallery"]["seconds"] + ten["indices"]["ivfpq"]["build"]["seconds"]
    assert found["build_core_hours"] == pytest.approx(100 * seconds / 3600)
    assert found["build_cost"] == pytest.approx(2 * found["build_core_hours"])


def test_the_script_writes_its_tables_between_the_marks(
    content: dict[str, Any], tmp_path: Path
) -> None:
    files = [tmp_path / "small.json", tmp_path / "large.json"]
    write_json(files[0], content)
    write_json(files[1], grown(content, 10))
    page = tmp_path / "scale.md"
    page.write_text(
        (ROOT / "docs" / "explanation" / "scale.md").read_text(encoding="utf-8"), encoding="utf-8"
    )
    command = [sys.executable, ROOT / "scripts" / "gallery_scale.py", *files, "--docs", page]
    subprocess.run(command, check=True, capture_output=True)
    text = page.read_text(encoding="utf-8")
    assert "| 3,000 | ivfpq |" in text
    assert "| 30,000 | ivfpq |" in text
    assert "1,000,000 | ivfpq" not in text
    assert "cost a month" not in text  # without prices there are no costs
    priced = subprocess.run([*command, "--core-price", "1"], capture_output=True, text=True)
    assert priced.returncode != 0
    assert "--said" in priced.stderr
