"""The verbs of galleries: build, add, info, check, search, embed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mindeye.commands.folders import need_path
from mindeye.config.settings import run_config
from mindeye.errors import UsageError

if TYPE_CHECKING:
    from mindeye.gallery.build import BuildConfig
    from mindeye.gallery.bulk_plan import BulkConfig
    from mindeye.gallery.sources import SourceConfig


def build(source: Path, *, out: Path, config: BuildConfig) -> str:
    """Build a gallery of pictures, of shards, or of embeddings.

    The source is a folder of pictures, of webdataset or img2dataset shards, or of embeddings
    (.npy, or img_emb and metadata as clip-retrieval writes them). A second call goes on where the
    first one stopped; with another --backend only the index is made anew.

    Parameters
    ----------
    source
        Pictures, shards or embeddings.
    out
        Folder of the gallery.
    config
        How the source is read, and what searches the gallery.

    Examples
    --------
    $ mindeye gallery build pictures/ --out gallery --encoder zoo
    """
    from mindeye.gallery.build import build_gallery

    return _ready(build_gallery(source, out, config))


def add(folder: Path, source: Path, *, config: SourceConfig) -> str:
    """Add a source to a gallery; its pictures are embedded by the gallery's own encoder.

    Parameters
    ----------
    folder
        Folder of the gallery.
    source
        Pictures, shards or embeddings.
    config
        How the source is read.

    Examples
    --------
    $ mindeye gallery add gallery more/ --id-prefix more:
    """
    from mindeye.gallery.build import add_to_gallery

    return _ready(add_to_gallery(folder, source, config))


def _ready(built: Any) -> str:
    info = built.gallery.info
    ready = f"{built.gallery.path} is ready: {info.count} x {info.width}, back-end {info.backend}"
    return "\n".join([*built.notes, ready])


def info(folder: Path) -> str:
    """Say what is in a gallery.

    Parameters
    ----------
    folder
        Folder of the gallery, or of an index of clip-retrieval.

    Examples
    --------
    $ mindeye gallery info gallery
    """
    from mindeye.commands.inspecting import facts_text
    from mindeye.gallery.check import describe
    from mindeye.gallery.store import open_gallery

    return facts_text(describe(open_gallery(folder, unfinished=True)))


def check(folder: Path) -> str:
    """Verify a gallery: checksums, ids, norms, its index.

    Parameters
    ----------
    folder
        Folder of the gallery, or of an index of clip-retrieval.

    Examples
    --------
    $ mindeye gallery check gallery
    """
    from mindeye.gallery.check import check_gallery
    from mindeye.gallery.store import open_gallery

    return "\n".join([*check_gallery(open_gallery(folder)), f"{folder} is sound"])


def embed(shards: Path, *, out: Path, config: BulkConfig) -> str:
    """Embed the pictures of webdataset or img2dataset shards, here or on a Ray cluster.

    Writes one .npy of vectors and one .parquet of captions and addresses a shard, which `mindeye
    gallery build` takes. A second call goes on where the first one stopped.

    Parameters
    ----------
    shards
        Folder of .tar shards, or one of them.
    out
        Folder to write.
    config
        The encoder and the workers.

    Examples
    --------
    $ mindeye gallery embed shards/ --out embeddings --encoder zoo --workers 4
    """
    from mindeye.gallery.bulk import embed_shards

    left = embed_shards(shards, out, config)
    lines = [
        f"{out} is ready: {left.rows} embeddings of {left.done + left.before} shards "
        f"({left.before} done before)"
    ]
    if left.lost:
        lines.append(f"{left.lost} samples were left out: {'; '.join(left.left_out[:3])}")
    return "\n".join(lines)


def search(
    folder: Path,
    *,
    query: Path,
    k: int = 16,
    json: Path | None = None,
    pictures: Path | None = None,
    weights: str = "",
    rerank: int | None = None,
    nprobe: int | None = None,
    ef: int | None = None,
    second_order: Literal["tokens", "none"] = "tokens",
    first_order: Literal["decoder", "ridge"] = "decoder",
    pooled_run: Path | None = None,
    root: Path | None = None,
    out: Path | None = None,
) -> str:
    """Ask a gallery, or an index folder of clip-retrieval or autofaiss as it is.

    Parameters
    ----------
    folder
        Folder of the gallery, or of an index of clip-retrieval.
    query
        Embeddings .npy (Q, D), a picture, or the folder of a run.
    k
        Number of answers to every query.
    json
        File to write all answers to.
    pictures
        File .png to draw the answers on.
    weights
        Folder of fetched models.
    rerank
        Number of first results that are scored again exactly, this time.
    nprobe
        Number of lists of an inverted file that are looked into, this time.
    ef
        Number of candidates looked at while hnsw is searched, this time.
    second_order
        For a run: select among the k nearest by all tokens, as the paper does, or not.
    first_order
        For a run: whose prediction looks up the k nearest.
    pooled_run
        For a run: folder of another one of the same subject that looks up the k nearest.
    root
        For a run: folder of the gallery's pictures, if that is not its source.
    out
        For a run: folder for the picks as reconstructions, see `mindeye evaluate`.

    Examples
    --------
    $ mindeye gallery search gallery --query cat.png --k 16
    $ mindeye gallery search gallery --query runs/subj01 --out found
    """
    need_path(folder, "gallery")
    from mindeye.files import write_json
    from mindeye.gallery.query import as_json, as_text, queries_of, search_gallery
    from mindeye.gallery.store import open_gallery
    from mindeye.gallery.strip import write_strip

    options = {"rerank": rerank, "nprobe": nprobe, "ef": ef}
    opened = open_gallery(folder)
    if opened.info.backend != "exact":
        opened = opened.with_options(**options)
    elif any(value is not None for value in options.values()):
        raise UsageError(
            f"{folder} is searched exactly: --rerank, --nprobe and --ef are of an index"
        )
    if query.is_dir():
        from mindeye.commands.gallery_search import RunSearchConfig

        config = RunSearchConfig(k, second_order, first_order, root)
        return _search_with_run(opened, query, pooled_run, config, (json, pictures, out))
    for name, value in {"pooled-run": pooled_run, "root": root, "out": out}.items():
        if value is not None:
            raise UsageError(f"--{name} goes with a run as --query; leave it out")
    queries = queries_of(query, opened, weights=weights)
    answers = search_gallery(opened, queries, k)
    lines = [*answers.notes, as_text(queries, answers)]
    if json is not None:
        write_json(json, as_json(opened, queries, answers))
        lines.append(f"{json} holds all answers")
    if pictures is not None:
        lines.append(f"{pictures} shows {write_strip(opened, answers, pictures)} pictures")
    return "\n".join(lines)


def _search_with_run(
    gallery: Any, run: Path, pooled: Path | None, config: Any, paths: tuple[Path | None, ...]
) -> str:
    from mindeye.commands.gallery_retrieved import (
        answers_json,
        answers_text,
        draw_strip,
        write_retrieved,
    )
    from mindeye.commands.gallery_search import search_with_run
    from mindeye.files import write_json
    from mindeye.runs import open_run

    work = open_run(run, run_config)
    other = open_run(pooled, run_config) if pooled is not None else None
    answers = search_with_run(work, gallery, config, pooled_work=other)
    lines = [*answers.found.notes, answers_text(answers)]
    json, pictures, out = paths
    if json is not None:
        write_json(json, answers_json(work, gallery, answers))
        lines.append(f"{json} holds all answers")
    if pictures is not None:
        shown = draw_strip(work, gallery, answers, pictures, config)
        lines.append(f"{pictures} shows {shown} stimuli")
    if out is not None:
        same = write_retrieved(work, gallery, answers, out, config)
        count = len(answers.rows)
        lines.append(f"{out} holds the picks; {same} of {count} are the very picture seen")
    return "\n".join(lines)
