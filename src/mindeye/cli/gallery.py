"""The command line's verb for galleries: build, add, info, check, search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.cli.bulk import add_gallery_embed, gallery_embed
from mindeye.cli.data import facts_text
from mindeye.config.settings import add_fields, from_flags, run_config
from mindeye.errors import UsageError

if TYPE_CHECKING:
    from mindeye.gallery.store import Gallery

NewParser = Callable[..., ArgumentParser]

OF_A_RUN = ("pooled_run", "root", "out")


def add_gallery(verbs: Any, new: NewParser, *, asked: Sequence[str]) -> None:
    """Add the verb ``gallery``; flags of its configs only if it is asked for."""
    gallery = new("Build and ask galleries: pictures by the million, looked up by embedding.")
    verbs.add_subcommand("gallery", gallery, help="build and ask galleries of pictures")
    what = gallery.add_subcommands(dest="what", metavar="WHAT")
    _add_build(what, new, "gallery" in asked)
    _add_add(what, new, "gallery" in asked)
    for name, text in (
        ("info", "tell what is in a gallery"),
        ("check", "verify a gallery: checksums, ids, norms, its index"),
    ):
        sub = new(f"{text.capitalize()}.")
        sub.add_argument("folder", type=Path, help="a gallery, or an index of clip-retrieval")
        what.add_subcommand(name, sub, help=text)
    _add_search(what, new)
    add_gallery_embed(what, new, asked="embed" in asked)


def _add_build(what: Any, new: NewParser, asked: bool) -> None:
    build = new(
        "Build a gallery of a folder of pictures, of webdataset or img2dataset shards, or of "
        "embeddings (.npy, or img_emb and metadata as clip-retrieval writes them). A second call "
        "goes on where the first one stopped; with another --backend only the index is made anew."
    )
    build.add_argument("source", type=Path, help="pictures, shards or embeddings")
    build.add_argument("--out", type=Path, required=True, help="folder of the gallery")
    if asked:
        from mindeye.gallery.build import BuildConfig

        add_fields(build, BuildConfig)
    what.add_subcommand("build", build, help="build a gallery")


def _add_add(what: Any, new: NewParser, asked: bool) -> None:
    add = new("Add a source to a gallery; its pictures are embedded by the gallery's own encoder.")
    add.add_argument("folder", type=Path, help="a gallery")
    add.add_argument("source", type=Path, help="pictures, shards or embeddings")
    if asked:
        from mindeye.gallery.sources import SourceConfig

        add_fields(add, SourceConfig)
    what.add_subcommand("add", add, help="add to a gallery")


def _add_search(what: Any, new: NewParser) -> None:
    search = new(
        "Ask a gallery. The answers are printed, and written with --json and --pictures. An index "
        "folder of clip-retrieval or autofaiss is asked as it is."
    )
    search.add_argument("folder", type=Path, help="a gallery, or an index of clip-retrieval")
    search.add_argument(
        "--query",
        type=Path,
        required=True,
        help="embeddings .npy (Q, D), a picture, or the folder of a run",
    )
    search.add_argument("--k", type=int, default=16, help="answers a query")
    search.add_argument("--json", type=Path, default=None, help="file to write the answers to")
    search.add_argument("--pictures", type=Path, default=None, help="PNG to draw the answers on")
    search.add_argument("--weights", type=str, default="", help="folder of fetched models")
    for name, text in (
        ("rerank", "first results that are scored again exactly"),
        ("nprobe", "lists of an inverted file that are looked into"),
        ("ef", "candidates while HNSW is searched"),
    ):
        search.add_argument(f"--{name}", type=int, default=None, help=f"{text}, this time")
    _add_run_search(search)
    what.add_subcommand("search", search, help="ask a gallery")


def _add_run_search(search: ArgumentParser) -> None:
    search.add_argument(
        "--second-order",
        type=str,
        default="tokens",
        choices=["tokens", "none"],
        help="of a run: select among the k nearest by all tokens, as the paper does, or not",
    )
    search.add_argument(
        "--first-order",
        type=str,
        default="decoder",
        choices=["decoder", "ridge"],
        help="of a run: whose prediction looks up the k nearest",
    )
    for name, text in (
        ("pooled-run", "of a run: another one of the same subject that looks up the k nearest"),
        ("root", "of a run: folder of the gallery's pictures, if that is not its source"),
        ("out", "of a run: folder for the picks as reconstructions, see `mindeye evaluate`"),
    ):
        search.add_argument(f"--{name}", type=Path, default=None, help=text)


def gallery(flags: Namespace) -> str:
    """Return the text that ``gallery`` prints."""
    from mindeye.gallery.build import BuildConfig, add_to_gallery, build_gallery
    from mindeye.gallery.check import check_gallery, describe
    from mindeye.gallery.sources import SourceConfig
    from mindeye.gallery.store import open_gallery

    chosen = flags[flags.what]
    if flags.what == "embed":
        return gallery_embed(chosen)
    if flags.what == "search":
        return _search(chosen)
    if flags.what in ("info", "check"):
        opened = open_gallery(chosen.folder, unfinished=flags.what == "info")
        if flags.what == "info":
            return facts_text(describe(opened))
        return "\n".join([*check_gallery(opened), f"{chosen.folder} is sound"])
    if flags.what == "add":
        built = add_to_gallery(chosen.folder, chosen.source, from_flags(SourceConfig, chosen))
    else:
        built = build_gallery(chosen.source, chosen.out, from_flags(BuildConfig, chosen))
    info = built.gallery.info
    told = f"{built.gallery.path} is ready: {info.count} x {info.width}, back-end {info.backend}"
    return "\n".join([*built.notes, told])


def _search(flags: Namespace) -> str:
    from mindeye.files import write_json
    from mindeye.gallery.query import as_json, as_text, queries_of, search_gallery
    from mindeye.gallery.store import open_gallery
    from mindeye.gallery.strip import write_strip

    options = {name: flags[name] for name in ("rerank", "nprobe", "ef")}
    asked = open_gallery(flags.folder)
    if asked.info.backend != "exact":
        asked = asked.with_options(**options)
    elif any(value is not None for value in options.values()):
        raise UsageError(
            f"{flags.folder} is searched exactly: --rerank, --nprobe and --ef are of an index"
        )
    if flags.query.is_dir():
        return _search_with_run(flags, asked)
    given = [name for name in OF_A_RUN if flags[name] is not None]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} goes with a run as --query; leave it out")
    queries = queries_of(flags.query, asked, weights=flags.weights)
    found = search_gallery(asked, queries, flags.k)
    lines = [*found.notes, as_text(queries, found)]
    if flags.json is not None:
        write_json(flags.json, as_json(asked, queries, found))
        lines.append(f"{flags.json} holds all answers")
    if flags.pictures is not None:
        shown = write_strip(asked, found, flags.pictures)
        lines.append(f"{flags.pictures} shows {shown} pictures")
    return "\n".join(lines)


def _search_with_run(flags: Namespace, asked: Gallery) -> str:
    from mindeye.commands.gallery_retrieved import (
        answers_json,
        answers_text,
        draw_strip,
        write_retrieved,
    )
    from mindeye.commands.gallery_search import RunSearchConfig, search_with_run
    from mindeye.files import write_json
    from mindeye.runs import open_run

    work = open_run(flags.query, run_config)
    other = open_run(flags.pooled_run, run_config) if flags.pooled_run is not None else None
    config = RunSearchConfig(flags.k, flags.second_order, flags.first_order, flags.root)
    answers = search_with_run(work, asked, config, pooled_work=other)
    lines = [*answers.found.notes, answers_text(answers)]
    if flags.json is not None:
        write_json(flags.json, answers_json(work, asked, answers))
        lines.append(f"{flags.json} holds all answers")
    if flags.pictures is not None:
        shown = draw_strip(work, asked, answers, flags.pictures, config)
        lines.append(f"{flags.pictures} shows {shown} stimuli")
    if flags.out is not None:
        same = write_retrieved(work, asked, answers, flags.out, config)
        lines.append(
            f"{flags.out} holds the picks; {same} of {len(answers.rows)} are the very picture seen"
        )
    return "\n".join(lines)
