"""The verbs of galleries: build, add, info, check, search, embed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mindeye.commands.folders import need_path
from mindeye.errors import DataError, UsageError
from mindeye.gallery.config import BulkConfig, IndexConfig, SourceConfig

if TYPE_CHECKING:
    from mindeye.commands.gallery_of_run import Answers
    from mindeye.gallery.gallery import Gallery


def build(source: Path, *, out: Path, reading: SourceConfig, index: IndexConfig) -> str:
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
    reading
        How the source is read.
    index
        What searches the gallery.

    Examples
    --------
    $ mindeye gallery build pictures/ --out gallery --encoder zoo
    """
    from mindeye.gallery.gallery import Gallery

    return _ready(Gallery.build(source, out, reading.encoder, index, reading=reading))


def add(folder: Path, source: Path, *, reading: SourceConfig) -> str:
    """Add a source to a gallery; its pictures are embedded by the gallery's own encoder.

    Parameters
    ----------
    folder
        Folder of the gallery.
    source
        Pictures, shards or embeddings.
    reading
        How the source is read.

    Examples
    --------
    $ mindeye gallery add gallery more/ --id-prefix more:
    """
    from mindeye.gallery.gallery import Gallery

    return _ready(Gallery.open(folder, unfinished=True).add(source, reading=reading))


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
    from mindeye.gallery.gallery import Gallery

    return facts_text(describe(Gallery.open(folder, unfinished=True)))


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
    from mindeye.gallery.gallery import Gallery

    return "\n".join([*check_gallery(Gallery.open(folder)), f"{folder} is sound"])


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

    before, now = embed_shards(shards, out, config)
    every = [*before, *now]
    lines = [
        f"{out} is ready: {sum(o.rows for o in every)} embeddings of {len(every)} shards "
        f"({len(before)} done before)"
    ]
    if lost := sum(o.lost for o in every):
        left_out = [line for o in every for line in o.left_out]
        lines.append(f"{lost} samples were left out: {'; '.join(left_out[:3])}")
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
        Whether to select among a run's k nearest by all tokens, as the paper does.
    first_order
        Which prediction of a run looks up the k nearest.
    pooled_run
        Folder of another run of the same subject, which looks up the k nearest for this one.
    root
        Folder of the gallery's pictures for a run, if that is not the gallery's source.
    out
        Folder for a run's picks as reconstructions, see `mindeye evaluate`.

    Examples
    --------
    $ mindeye gallery search gallery --query cat.png --k 16
    $ mindeye gallery search gallery --query runs/subj01 --out found
    """
    need_path(folder, "gallery")
    from mindeye.commands.gallery_of_run import RunSearch, asked, search_with_run
    from mindeye.files import write_json
    from mindeye.gallery.gallery import Gallery
    from mindeye.gallery.sources import queries_of

    gallery = Gallery.open(folder).with_options(rerank=rerank, nprobe=nprobe, ef=ef)
    if query.is_dir():
        how = RunSearch(k, second_order, first_order, pooled_run, root)
        return search_with_run(gallery, query, how, json=json, pictures=pictures, out=out)
    for name, value in {"pooled-run": pooled_run, "root": root, "out": out}.items():
        if value is not None:
            raise UsageError(f"--{name} goes with a run as --query; leave it out")
    answers = asked(gallery, queries_of(query, gallery.info.space, folder, weights=weights), k)
    lines = [*answers.notes, *_text(answers)]
    if json is not None:
        write_json(json, answers.content())
        lines.append(f"{json} holds all answers")
    if pictures is not None:
        lines.append(f"{pictures} shows {_draw(answers, pictures)} pictures")
    return "\n".join(lines)


def _text(answers: Answers) -> list[str]:
    """Return answers to the first queries as lines of text."""
    from mindeye.commands.gallery_of_run import SHOWN

    lines, names = [], answers.queries.names
    for name, rows, scores in zip(names[:SHOWN], *answers.matches, strict=False):
        lines.append(f"query {name}")
        table = answers.gallery.table(rows[rows >= 0])
        for place, line in enumerate(table.to_dict("records")):
            texts = "  ".join(" ".join(line[c].split())[:80] for c in ("id", "caption") if line[c])
            head = f"  {place + 1:>3}  {scores[place]:.4f}  {line['row']:>10}"
            lines.append(f"{head}  {texts}  {line['url']}".rstrip())
    rest = len(names) - SHOWN
    return [*lines, f"and {rest} more queries; --json has all"] if rest > 0 else lines


def _draw(answers: Answers, path: Path) -> int:
    """Draw answers, a line a query, best first; returns how many pictures are on the sheet."""
    from mindeye.commands.gallery_of_run import DRAWN, lines_of_pictures
    from mindeye.gallery.pictures import write_sheet

    lines = lines_of_pictures(answers.gallery, answers.matches.rows[:DRAWN])
    count = sum(picture is not None for line in lines for picture in line)
    if not count:
        raise DataError(
            f"none of the pictures is on this machine below the sources of {answers.gallery.path}; "
            "leave out --pictures"
        )
    write_sheet(path, lines)
    return count


def _ready(gallery: Gallery) -> str:
    info = gallery.info
    ready = f"{gallery.path} is ready: {info.count} x {info.width}, back-end {info.backend}"
    return "\n".join([*gallery.notes, ready])
