"""`fetch_nsd` against a real server of a miniature bucket that answers as S3 does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bucket_server import BucketServer, cut_after
from small_nsd import (
    BETAS,
    PICTURES,
    ROIS,
    SESSION,
    SIZE,
    assert_complete,
    quick_fetch,
    random_bytes,
)

from mindeye.datasets.nsd.fetch import FORM, TERMS, target_of
from mindeye.datasets.nsd.fetch_list import FetchConfig
from mindeye.errors import DataError, UsageError
from mindeye.weights.download import AbsentError, RefusedError, TransferError


def test_everything_lands_in_nsds_tree_byte_for_byte(
    server: BucketServer, config: FetchConfig
) -> None:
    lines: list[str] = []
    summary = quick_fetch(config, lines)
    assert_complete(server, config.root)
    total = sum(len(data) for data in server.files.values())
    assert summary.bytes_wanted == summary.bytes_transferred == total == server.sent.total()
    assert {f"{ROIS}/Kastner2015.nii.gz", f"{ROIS}/HCP_MMP1.nii.gz"} < set(summary.skipped)
    assert any("skipped" in line and "HCP_MMP1" in line for line in lines)
    assert any(SESSION in line and "328 kB" in line for line in lines)


def test_complete_files_are_left_out_and_told(server: BucketServer, config: FetchConfig) -> None:
    quick_fetch(config)
    sent = server.sent.total()
    (config.root / SESSION).unlink()
    lines: list[str] = []
    summary = quick_fetch(config, lines)
    assert summary.wanted == (SESSION,)
    assert server.sent.total() - sent == SIZE
    assert sum("here already" in line for line in lines) == len(server.files) - 1
    assert lines[-2].startswith("1 file to download, 328 kB")


def test_a_file_of_another_size_is_replaced_only_by_the_verified_whole(
    server: BucketServer, config: FetchConfig
) -> None:
    target = config.root / SESSION
    target.parent.mkdir(parents=True)
    target.write_bytes(b"torn")
    server.always[SESSION] = cut_after(0)
    with pytest.raises(TransferError):
        quick_fetch(config)
    assert target.read_bytes() == b"torn"
    server.always.clear()
    quick_fetch(config)
    assert_complete(server, config.root)


def test_a_needed_file_that_is_missing_is_named_before_any_download(
    server: BucketServer, config: FetchConfig
) -> None:
    del server.files[SESSION]
    with pytest.raises(AbsentError, match=r"not on its server \(404\).*--betas") as caught:
        quick_fetch(config)
    assert SESSION in str(caught.value)
    assert not server.sent


def test_a_session_that_is_not_given_out_is_named(
    server: BucketServer, config: FetchConfig
) -> None:
    server.refused[SESSION] = 403
    with pytest.raises(RefusedError, match=r"\(403\).*--sessions"):
        quick_fetch(config)
    server.refused = {f"{ROIS}/streams.nii.gz": 403}
    assert f"{ROIS}/streams.nii.gz" in quick_fetch(config).skipped


def test_no_network_is_named(server: BucketServer, config: FetchConfig) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(TransferError, match=r"no connection for .*nsddata.*run the same"):
        quick_fetch(config)


def test_terms_must_be_accepted_by_the_user(server: BucketServer, config: FetchConfig) -> None:
    lines: list[str] = []
    with pytest.raises(UsageError, match="--i-accept-the-nsd-terms") as caught:
        quick_fetch(replace(config, i_accept_the_nsd_terms=False), lines)
    assert TERMS in str(caught.value)
    assert FORM in str(caught.value)
    assert any(SESSION in line for line in lines)
    assert not server.requests
    assert not config.root.exists()


def test_a_dry_run_makes_no_connection_and_imports_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(event)
sys.addaudithook(refuse)
from mindeye.datasets.nsd.fetch_list import FetchConfig
from mindeye.datasets.nsd.fetch import fetch_nsd
fetch_nsd(FetchConfig(1, Path({str(tmp_path / "nsd")!r}), dry_run=True), tell=print)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("about 1.09 GB  nsddata_betas") == 40
    assert "about 39.6 GB  nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5" in done.stdout
    # 40 sessions of 81 * 104 * 83 voxels * (750 * 2 + 65) bytes, the pictures, the small ones.
    assert "55 files to download, about 83.3 GB; nothing was downloaded" in done.stdout
    assert not (tmp_path / "nsd").exists()


def test_a_dry_run_leaves_out_what_is_here(server: BucketServer, config: FetchConfig) -> None:
    skipped = quick_fetch(config).skipped
    asked = len(server.requests)
    summary = quick_fetch(replace(config, dry_run=True))
    assert set(summary.present) == set(server.files)
    assert summary.wanted == skipped
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("subject", "sessions", "numbers"),
    [
        (1, "1-40", tuple(range(1, 41))),
        (4, "all", tuple(range(1, 31))),
        (3, " 5, 1 - 3,2", (1, 2, 3, 5)),
        (8, "30", (30,)),
    ],
)
def test_sessions_are_read(subject: int, sessions: str, numbers: tuple[int, ...]) -> None:
    assert FetchConfig(subject, Path("nsd"), sessions=sessions).session_numbers == numbers


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject": 9}, "1 to 8"),
        ({"subject": 3, "sessions": "1-40"}, "session 33 is not there; there are 1-32"),
        ({"subject": 4, "sessions": "31"}, "there are 1-30"),
        ({"sessions": ""}, "1-5,7 or all"),
        ({"sessions": "3-1"}, "backwards"),
        ({"sessions": "0-4"}, "session 0 is not there"),
        ({"sessions": "1-99999999999"}, "1-5,7 or all"),
        ({"sessions": "-4"}, "1-5,7 or all"),
        ({"betas": "betas_best"}, "betas_fithrf_GLMdenoise_RR"),
        ({"file_format": "mat"}, "hdf5 or nii"),
        ({"endpoint": "mirror.example"}, "https://HOST"),
        ({"attempts": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        FetchConfig(**{"subject": 1, "root": Path("nsd"), **changes})  # type: ignore[arg-type]


def test_a_root_that_cannot_hold_files_is_named(server: BucketServer, config: FetchConfig) -> None:
    config.root.write_text("a file")
    with pytest.raises(UsageError, match="is no folder"):
        quick_fetch(config)
    config.root.unlink()
    config.root.mkdir()
    (config.root / "nsddata_betas").write_text("a file where a folder belongs")
    with pytest.raises(DataError, match=r"(cannot write|cannot use)"):
        quick_fetch(config)


def test_compressed_betas_of_another_version(server: BucketServer, config: FetchConfig) -> None:
    key = f"{BETAS}/betas_assumehrf/betas_session01.nii.gz"
    server.files[key] = random_bytes(3)
    asked = replace(config, betas="betas_assumehrf", file_format="nii", sessions="1")
    summary = quick_fetch(replace(asked, no_stimuli=True))
    assert key in summary.wanted
    assert not any("nsd_stimuli" in k or "session02" in k for k in summary.wanted)


def test_the_extra_sessions_bring_betas_design_and_pictures(
    server: BucketServer, config: FetchConfig
) -> None:
    extra = {
        f"{BETAS}/nsdsyntheticbetas_fithrf_GLMdenoise_RR/betas_nsdsynthetic.hdf5",
        "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat",
        f"{PICTURES}/nsdsynthetic/nsdsynthetic_stimuli.hdf5",
        f"{PICTURES}/nsdsynthetic/nsdsynthetic_colorstimuli_subj01.hdf5",
        f"{BETAS}/nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.hdf5",
        "nsddata/bdata/nsdimagery/nsdimagery_subj01_run01.tsv",
        "nsddata/experiments/nsdimagery/designmatrixGLMsingle.mat",
        "nsddata/experiments/nsdimagery/rawtargetimages/a & b.png",
        f"{PICTURES}/nsdimagery/allstim/frame0001.png",
    }
    server.files |= {key: random_bytes(len(key), 900) for key in extra}
    server.files["nsddata/experiments/nsdimagery/"] = b""
    server.page = 1
    summary = quick_fetch(replace(config, synthetic=True, imagery=True))
    assert extra <= set(summary.wanted)
    del server.files["nsddata/experiments/nsdimagery/"]
    assert_complete(server, config.root)


@pytest.mark.parametrize(
    "key",
    [
        "nsddata/experiments/nsdimagery/../../../../outside.txt",
        "nsddata/experiments/nsdimagery/C:\\outside.txt",
        "nsddata/outside.txt",
    ],
)
def test_keys_that_lead_out_of_the_root_are_refused(
    server: BucketServer, config: FetchConfig, key: str
) -> None:
    server.files[f"{BETAS}/nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.hdf5"] = b"betas"
    server.files[key] = b"evil"
    server.extra_listed = [] if "nsdimagery" in key else [key]
    with pytest.raises(DataError, match=r"outside\.txt'? .*(refused|was asked for)"):
        quick_fetch(replace(config, imagery=True))
    assert not server.sent
    assert not list(config.root.parent.rglob("outside.txt"))


@pytest.mark.parametrize(
    "key", ["", ".", "..", "/a", "a/../b", "a/./b", "a//b", "a/", "a\\b", "a\0"]
)
def test_no_key_names_a_place_outside(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match="does not name a file below the root"):
        target_of(tmp_path, key)
