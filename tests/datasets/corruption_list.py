"""Faults of a miniature of NSD, each with words that its one-line error must hold."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from corruptions import (
    Tree,
    as_matlab_73,
    change_all_betas,
    change_betas,
    change_design,
    change_header,
    change_pictures,
    change_volume,
    close_the_gap,
    copy_test_picture,
    copy_trial,
    cut,
    flip,
    folder_instead,
    four_of_one,
    group_instead,
    link_to_nothing,
    nan_block,
    recompressed,
    remove_folder,
    rename_key,
    reorder_pictures,
    resampled,
    roll_by_one,
    roll_in_sessions,
    rotate_sessions,
    same_for_all,
    save_nifti,
    set_voxel,
    shorten_inside,
    twice_for_subject_4,
    volume_of,
    zero_slab,
)


@dataclass(frozen=True)
class Fault:
    """How a fault is planted, what its error must say, and flags of the command ({root} filled)."""

    plant: Callable[[Tree], object]
    says: str
    flags: tuple[str, ...] = ()


NII = ("--file-format=nii",)
MASK = ("--mask={root}/mask.nii.gz",)
LIST = ("--test={root}/test.txt",)
CEILING = ("--min-noise-ceiling=0.05",)
SAYS_02 = r"betas_session02\.hdf5 is cut off, damaged or no HDF5 .*fetch it again"
SAYS_NII_02 = r"betas_session02\.nii\.gz is cut off, damaged or no NIfTI .*fetch it again"
SHUFFLED = r"looks shuffled .*p = 0\.\d+.*--no-alignment-test"
SHIFTED = r"looks shifted by -?1 trial.*--no-alignment-test"
LEAK = r"picture '\d+' of train is a copy of '\d+' of test"


def nothing(tree: Tree) -> None:
    """The files are right, the command is not."""


BETAS = {
    "betas cut off": Fault(lambda t: cut(t.hdf5(2)), SAYS_02),
    "betas lack their last byte": Fault(lambda t: cut(t.hdf5(2), 0.99999), SAYS_02),
    "betas of no bytes": Fault(lambda t: t.hdf5(2).write_bytes(b""), SAYS_02),
    "betas are a web page": Fault(lambda t: t.hdf5(2).write_text("<html>403</html>"), SAYS_02),
    "betas without HDF5's signature": Fault(lambda t: flip(t.hdf5(2), 1), SAYS_02),
    "betas are zeros from the start": Fault(lambda t: t.hdf5(2).write_bytes(bytes(53688)), SAYS_02),
    "betas are a folder": Fault(
        lambda t: folder_instead(t.hdf5(2)), r"betas_session02\.hdf5 is a folder"
    ),
    "no session at all": Fault(
        lambda t: [t.hdf5(s).unlink() for s in (1, 2, 3)] + [t.nii(s).unlink() for s in (1, 2, 3)],
        r"no betas_sessionYY.*subj01.*mindeye fetch nsd",
    ),
    "no betas of subject 1": Fault(
        lambda t: remove_folder(t.betas.parents[1]), r"no betas_sessionYY.*subj01.*fetch nsd"
    ),
    "betas are floats with a block of NaN": Fault(
        lambda t: change_betas(t, 2, nan_block), r"session02\.hdf5 holds float32.* int16"
    ),
    "betas are unsigned": Fault(
        lambda t: change_betas(t, 2, lambda v: v.astype(np.uint16)), r"session02\.hdf5 holds uint16"
    ),
    "betas are 32 bits wide": Fault(
        lambda t: change_betas(t, 3, lambda v: v.astype(np.int32)), r"session03\.hdf5 holds int32"
    ),
    "betas are text": Fault(
        lambda t: change_betas(t, 1, lambda v: v.astype("S3")), r"session01\.hdf5 holds \|S3"
    ),
    "betas under another key": Fault(
        lambda t: rename_key(t.hdf5(2), "betas", "data"),
        r"session02\.hdf5 has no dataset 'betas'; it has \['data'\]",
    ),
    "betas are a group": Fault(
        lambda t: group_instead(t.hdf5(2), "betas"), r"session02\.hdf5 has no dataset 'betas'"
    ),
    "betas are a link to nothing": Fault(
        lambda t: link_to_nothing(t.hdf5(2), "betas"), r"session02\.hdf5 has no dataset 'betas'"
    ),
    "betas of one trial": Fault(
        lambda t: change_betas(t, 2, lambda v: v[0]), r"session02\.hdf5 .*four dimensions"
    ),
    "betas without trials": Fault(
        lambda t: change_betas(t, 2, lambda v: v[:0]), r"session02\.hdf5 has 0 trials"
    ),
    "betas transposed": Fault(
        lambda t: change_all_betas(t, lambda v: v.T.copy()),
        r"axes of .*session01\.hdf5 look swapped.*\(T, Z, Y, X\)",
    ),
    "axes x and z swapped in one session": Fault(
        lambda t: change_betas(t, 3, lambda v: v.transpose(0, 3, 2, 1).copy()),
        r"axes of .*session03\.hdf5 look swapped",
    ),
    "trials on the last axis": Fault(
        lambda t: change_all_betas(t, lambda v: np.moveaxis(v, 0, 3).copy()),
        r"axes of .*session01\.hdf5 look swapped",
    ),
    "one slice missing": Fault(
        lambda t: change_betas(t, 2, lambda v: v[:, 1:]), r"session02\.hdf5 is on a grid of"
    ),
    "another subject's session": Fault(
        lambda t: shutil.copy(t.other(t.hdf5(2)), t.hdf5(2)),
        r"session02\.hdf5 is on a grid of .*different subjects",
    ),
    "a session of another length": Fault(
        lambda t: change_betas(t, 3, lambda v: v[:25]),
        r"session03\.hdf5 has 25 trials, betas_session01\.hdf5 has 30",
    ),
    "more trials than were shown": Fault(
        lambda t: change_all_betas(t, lambda v: np.concatenate([v, v + 1])),
        r"session 3 of 60 trials each ends at trial 180, but the trial order has 90",
    ),
    "a session copied under another number": Fault(
        lambda t: shutil.copy(t.hdf5(1), t.hdf5(2)),
        r"trial 0 of session 2 has the same betas .*trial 0 of session 1 \(30 such",
    ),
    "a trial twice in a session": Fault(
        lambda t: change_betas(t, 2, copy_trial),
        r"trial 21 of session 2 has the same betas .*trial 4 of session 2 \(1 such",
    ),
    "a voxel that never changes": Fault(
        lambda t: set_voxel(t, 3, slice(None), 7),
        r"voxel 17 at \(\d+, \d+, \d+\) never changes in session 3.*--bad-voxels drop",
    ),
    "a saturated voxel": Fault(
        lambda t: set_voxel(t, 1, slice(2, 5), 32767),
        r"voxel 17 .*limit of its storage.* in session 1 ",
    ),
    "a voxel saturated below": Fault(
        lambda t: set_voxel(t, 1, slice(2, 5), -32768),
        r"voxel 17 .*limit of its storage.* in session 1 ",
    ),
    "a session of zeros": Fault(
        lambda t: change_betas(t, 2, np.zeros_like),
        r"120 of 120 voxels are broken: .*never changes in session 2",
    ),
    "a session of one trial repeated": Fault(
        lambda t: change_betas(t, 2, same_for_all), r"never changes in session 2"
    ),
    "a slab of zeros": Fault(
        lambda t: change_betas(t, 2, zero_slab),
        r"voxel 0 at \(0, \d+, \d+\) never changes in session 2",
    ),
}  # fmt: skip

NIFTI_BETAS = {
    "nii cut off": Fault(lambda t: cut(t.nii(2)), SAYS_NII_02, NII),
    "nii of no bytes": Fault(lambda t: t.nii(2).write_bytes(b""), SAYS_NII_02, NII),
    "nii not compressed": Fault(lambda t: t.nii(2).write_bytes(b"x" * 900), SAYS_NII_02, NII),
    "nii with a wrong checksum": Fault(lambda t: flip(t.nii(2), -6), SAYS_NII_02, NII),
    "nii with a damaged stream": Fault(lambda t: flip(t.nii(2), 5000), SAYS_NII_02, NII),
    "nii shorter than its header says": Fault(
        lambda t: shorten_inside(t.nii(2), 200), r"session02.*\b200 bytes are missing", NII
    ),
    "nii that ends in its header": Fault(
        lambda t: t.nii(2).write_bytes(gzip.compress(bytes(100))), SAYS_NII_02, NII
    ),
    "nii of another magic": Fault(
        lambda t: change_header(t.nii(2), slice(344, 348), b"abc\0"), SAYS_NII_02, NII
    ),
    "nii of an unknown type": Fault(
        lambda t: change_header(t.nii(2), slice(70, 72), b"\xff\x7f"), SAYS_NII_02, NII
    ),
    "nii of negative size": Fault(
        lambda t: change_header(t.nii(2), slice(42, 44), b"\xff\xff"), r"session02\.nii\.gz", NII
    ),
    "nii of floats with a block of NaN": Fault(
        lambda t: change_volume(t.nii(2), nan_block), r"session02\.nii\.gz holds float32", NII
    ),
    "nii with a scale": Fault(
        lambda t: save_nifti(t.nii(2), volume_of(t.nii(2)), slope=0.5),
        r"header of .*session02\.nii\.gz scales its numbers by 0\.5", NII,
    ),
    "nii of one trial": Fault(
        lambda t: change_volume(t.nii(2), lambda v: v[..., 0]),
        r"session02\.nii\.gz .*four dimensions", NII,
    ),
    "nii transposed": Fault(
        lambda t: [change_volume(t.nii(s), lambda v: v.T.copy()) for s in (1, 2, 3)],
        r"axes of .*session01\.nii\.gz look swapped.*\(X, Y, Z, T\)", NII,
    ),
    "nii of another subject": Fault(
        lambda t: shutil.copy(t.other(t.nii(1)), t.nii(1)), r"session01\.nii\.gz is on a grid", NII
    ),
    "no nii where nii is asked for": Fault(
        lambda t: [t.nii(s).unlink() for s in (1, 2, 3)], r"no betas_sessionYY\.nii\.gz", NII
    ),
    "nii copied under another number": Fault(
        lambda t: shutil.copy(t.nii(2), t.nii(3)), r"of session 3 has the same betas", NII
    ),
}  # fmt: skip

REGIONS = {
    "no region": Fault(lambda t: t.region.unlink(), r"no region nsdgeneral at .*fetch nsd"),
    "region is a folder": Fault(lambda t: folder_instead(t.region), r"no region nsdgeneral at"),
    "region of no bytes": Fault(
        lambda t: t.region.write_bytes(b""), r"nsdgeneral\.nii\.gz is cut off, damaged or no NIfTI"
    ),
    "region cut off": Fault(lambda t: cut(t.region), r"nsdgeneral\.nii\.gz is cut off, damaged"),
    "region with a wrong checksum": Fault(
        lambda t: flip(t.region, -6), r"nsdgeneral\.nii\.gz is cut off, damaged"
    ),
    "region not compressed": Fault(
        lambda t: t.region.write_bytes(b"no" * 300), r"nsdgeneral\.nii\.gz is cut off, damaged"
    ),
    "another subject's region": Fault(
        lambda t: shutil.copy(t.other(t.region), t.region),
        r"nsdgeneral\.nii\.gz on one of .*different subjects",
    ),
    "region at another resolution": Fault(
        lambda t: save_nifti(t.region, np.ones((82, 106, 84), np.int16)),
        r"82 x 106 x 84 \(subj02's in NSD\)",
    ),
    "region transposed": Fault(
        lambda t: change_volume(t.region, lambda v: v.T.copy()), r"nsdgeneral"
    ),
    "region empty": Fault(
        lambda t: change_volume(t.region, lambda v: np.minimum(v, 0)),
        r"nsdgeneral\.nii\.gz has no voxel above 0",
    ),
    "region of NaN": Fault(
        lambda t: change_volume(t.region, lambda v: np.full(v.shape, np.nan, np.float32)),
        r"nsdgeneral\.nii\.gz has no voxel above 0",
    ),
    "region of two volumes": Fault(
        lambda t: change_volume(t.region, lambda v: np.stack([v, v], axis=-1)),
        r"nsdgeneral\.nii\.gz .*one volume",
    ),
    "region of complex numbers": Fault(
        lambda t: change_volume(t.region, lambda v: v.astype(np.complex64)),
        r"nsdgeneral\.nii\.gz holds complex64",
    ),
    "region moved by one voxel": Fault(
        lambda t: change_volume(t.region, lambda v: np.roll(v, 1, axis=0)),
        r"voxel \d+ at .* never changes in session 1",
    ),
    "an unknown region": Fault(nothing, r"no region floc-none at", ("--roi=floc-none",)),
    "a region in another folder": Fault(
        nothing, r"roi='\.\./nsdgeneral'", ("--roi=../nsdgeneral",)
    ),
    "a region of an absolute path": Fault(nothing, r"not a region", ("--roi=/etc/passwd",)),
    "no region named": Fault(nothing, r"roi='': '' is not a region", ("--roi=",)),
    "a label that is not there": Fault(
        nothing, r"prf-visualrois.* labelled \(9,\).*labels are \[1, 2, ",
        ("--roi=prf-visualrois:9",),
    ),
    "label 0": Fault(nothing, r"label 0 means no region", ("--roi=nsdgeneral:0",)),
    "no mask": Fault(nothing, r"no mask at .*mask\.nii\.gz; correct --mask", MASK),
    "mask is a surface": Fault(
        lambda t: (t.root / "mask.gii").write_text("<?xml version='1.0'?><GIFTI/>"),
        r"mask\.gii is cut off, damaged or no NIfTI", ("--mask={root}/mask.gii",),
    ),
    "mask is a folder": Fault(
        lambda t: t.mask.mkdir(), r"no mask at .*mask\.nii\.gz; correct --mask", MASK
    ),
    "mask is no NIfTI": Fault(
        lambda t: t.mask.write_text("1 0 1"), r"mask\.nii\.gz is cut off, damaged or no NIfTI", MASK
    ),
    "mask of another grid": Fault(
        lambda t: save_nifti(t.mask, np.ones((3, 3, 3), np.uint8)),
        r"mask\.nii\.gz .*3 x 3 x 3", MASK,
    ),
    "mask of another subject": Fault(
        lambda t: shutil.copy(t.other(t.region), t.mask), r"mask\.nii\.gz is on a grid", MASK
    ),
    "mask empty": Fault(
        lambda t: save_nifti(t.mask, 0 * volume_of(t.region)),
        r"no voxel .*mask\.nii\.gz; choose", MASK,
    ),
    "mask of some other organ": Fault(
        lambda t: save_nifti(t.mask, (volume_of(t.region) < 0).astype(np.uint8)),
        r"no voxel of subject 1 is in nsdgeneral and .*mask\.nii\.gz", MASK,
    ),
    "no noise ceiling where one is asked for": Fault(
        lambda t: t.ncsnr.unlink(), r"no noise ceiling \(ncsnr\.nii\.gz\).*fetch nsd", CEILING
    ),
    "noise ceiling of NaN": Fault(
        lambda t: change_volume(t.ncsnr, lambda v: np.full_like(v, np.nan)),
        r"no voxel .*noise ceiling of at least 0\.05", CEILING,
    ),
    "noise ceiling cut off": Fault(lambda t: cut(t.ncsnr), r"ncsnr\.nii\.gz is cut off, damaged"),
    "noise ceiling of another subject": Fault(
        lambda t: shutil.copy(t.other(t.ncsnr), t.ncsnr), r"ncsnr\.nii\.gz is on a grid of"
    ),
    "noise ceiling that nobody reaches": Fault(
        nothing, r"no voxel .*at least 0\.999", ("--min-noise-ceiling=0.999",)
    ),
    "noise ceiling in percent": Fault(
        nothing, r"min_noise_ceiling=40.*percent", ("--min-noise-ceiling=40",)
    ),
}  # fmt: skip

BAD_MAT = r"nsd_expdesign\.mat is cut off, damaged or no MATLAB file .*fetch it again"
DESIGN = {
    "no design": Fault(lambda t: t.design.unlink(), r"no trial order \(nsd_expdesign\.mat\)"),
    "design is a folder": Fault(lambda t: folder_instead(t.design), r"nsd_expdesign\.mat"),
    "design cut off": Fault(lambda t: cut(t.design), BAD_MAT),
    "design of no bytes": Fault(lambda t: t.design.write_bytes(b""), BAD_MAT),
    "design with a flipped byte": Fault(lambda t: flip(t.design, 300), BAD_MAT),
    "design is text": Fault(lambda t: t.design.write_text("no " * 200), BAD_MAT),
    "design saved as MATLAB 7.3": Fault(as_matlab_73, BAD_MAT),
    "design lacks the order": Fault(
        lambda t: change_design(t, masterordering=None), r"lacks \['masterordering'\]; it has"
    ),
    "design lacks the shared ones": Fault(
        lambda t: change_design(t, sharedix=None), r"lacks \['sharedix'\]"
    ),
    "design lacks the lists": Fault(
        lambda t: change_design(t, subjectim=None), r"lacks \['subjectim'\]"
    ),
    "order counts from 0": Fault(
        lambda t: change_design(t, masterordering=lambda m: m - 1),
        r"masterordering .*whole numbers that count from 1",
    ),
    "lists count from 0": Fault(
        lambda t: change_design(t, subjectim=lambda m: m - 1), r"subjectim of .*nsd_expdesign"
    ),
    "order with halves": Fault(
        lambda t: change_design(t, masterordering=lambda m: m + 0.5), r"masterordering .*whole"
    ),
    "order with NaN": Fault(
        lambda t: change_design(t, masterordering=lambda m: np.where(m == 1, np.nan, m)),
        r"masterordering .*whole numbers",
    ),
    "order in words": Fault(
        lambda t: change_design(t, masterordering=lambda m: "abc"), r"masterordering .*not numbers"
    ),
    "order is a struct": Fault(
        lambda t: change_design(t, masterordering=lambda m: {"a": m}),
        r"masterordering .*not numbers",
    ),
    "order empty": Fault(
        lambda t: change_design(t, masterordering=lambda m: m[:, :0]), r"masterordering of .*\b0\b"
    ),
    "order of 73k numbers": Fault(
        lambda t: change_design(t, masterordering=lambda m: m + 30),
        r"masterordering .*positions in a subject's list",
    ),
    "a picture shown four times": Fault(
        lambda t: change_design(t, masterordering=four_of_one), r"4 times; NSD .*at most 3"
    ),
    "order too short": Fault(
        lambda t: change_design(t, masterordering=lambda m: m[:, :75]),
        r"session 3 of 30 trials each ends at trial 90, but the trial order has 75",
    ),
    "seven subjects": Fault(
        lambda t: change_design(t, subjectim=lambda m: m[:7]), r"subjectim .*not \(8, pictures\)"
    ),
    "lists transposed": Fault(
        lambda t: change_design(t, subjectim=lambda m: m.T), r"subjectim .*not \(8, pictures\)"
    ),
    "shared ones in another order": Fault(
        lambda t: change_design(t, sharedix=lambda m: m[:, ::-1]), r"subjectim .*shared ones"
    ),
    "shared ones of another study": Fault(
        lambda t: change_design(t, sharedix=lambda m: m + 1), r"subjectim .*shared ones of sharedix"
    ),
    "a picture listed twice": Fault(
        lambda t: change_design(t, subjectim=twice_for_subject_4), r"a picture twice for subject 4"
    ),
    "a 73k number that no file has": Fault(
        lambda t: change_design(t, subjectim=lambda m: np.where(m == m.max(), 73001, m)),
        r"nsd_stimuli\.hdf5 has 224 pictures, but the trial order names number 73001",
    ),
    "order shifted by one trial": Fault(
        lambda t: change_design(t, masterordering=roll_by_one), SHIFTED
    ),
    "order shifted by one trial within sessions": Fault(
        lambda t: change_design(t, masterordering=roll_in_sessions), SHIFTED
    ),
    "order shifted by one trial the other way": Fault(
        lambda t: change_design(t, masterordering=lambda m: np.roll(m, -1, axis=1)), SHIFTED
    ),
    "order backwards": Fault(
        lambda t: change_design(t, masterordering=lambda m: m[:, ::-1]), SHUFFLED
    ),
    "order in another permutation": Fault(
        lambda t: change_design(
            t, masterordering=lambda m: np.random.default_rng(5).permutation(m, axis=1)
        ),
        SHUFFLED,
    ),
    "trials shifted in the betas": Fault(
        lambda t: change_all_betas(t, lambda v: np.roll(v, 1, axis=0)), SHIFTED
    ),
    "trials reversed in the betas": Fault(
        lambda t: change_all_betas(t, lambda v: v[::-1].copy()), SHUFFLED
    ),
    "sessions numbered in another order": Fault(rotate_sessions, SHUFFLED),
    "sessions counted anew after a missing one": Fault(close_the_gap, SHUFFLED),
}  # fmt: skip

BAD_PICTURES = r"nsd_stimuli\.hdf5 is cut off, damaged or no HDF5 .*fetch it again"
PICTURES = {
    "no pictures": Fault(lambda t: t.stimuli.unlink(), r"no pictures at .*nsd_stimuli\.hdf5"),
    "pictures are a folder": Fault(lambda t: folder_instead(t.stimuli), r"nsd_stimuli\.hdf5"),
    "pictures cut off": Fault(lambda t: cut(t.stimuli), BAD_PICTURES),
    "pictures of no bytes": Fault(lambda t: t.stimuli.write_bytes(b""), BAD_PICTURES),
    "pictures under another key": Fault(
        lambda t: rename_key(t.stimuli, "imgBrick", "images"),
        r"nsd_stimuli\.hdf5 has no dataset 'imgBrick'; it has \['images'\]",
    ),
    "pictures from 0 to 1": Fault(
        lambda t: change_pictures(t, lambda p: p / np.float32(255)), r"imgBrick .*holds float32"
    ),
    "pictures with colours first": Fault(
        lambda t: change_pictures(t, lambda p: np.moveaxis(p, 3, 1).copy()),
        r"imgBrick of .*\(224, 3, 64, 64\)",
    ),
    "pictures of MATLAB's axes": Fault(
        lambda t: change_pictures(t, lambda p: p.T.copy()), r"imgBrick of .*\(3, 64, 64, 224\)"
    ),
    "grey pictures": Fault(
        lambda t: change_pictures(t, lambda p: p[..., 0]), r"imgBrick of .*\(224, 64, 64\)"
    ),
    "pictures with an alpha channel": Fault(
        lambda t: change_pictures(t, lambda p: np.concatenate([p, p[..., :1]], axis=3)),
        r"imgBrick of .*\(224, 64, 64, 4\)",
    ),
    "too few pictures": Fault(
        lambda t: change_pictures(t, lambda p: p[:150]),
        r"nsd_stimuli\.hdf5 has 150 pictures, but the trial order names number",
    ),
    "no picture in the file": Fault(
        lambda t: change_pictures(t, lambda p: p[:0]), r"imgBrick of .*\(0, 64, 64, 3\)"
    ),
    "all pictures black": Fault(lambda t: change_pictures(t, np.zeros_like), LEAK),
    "pictures in another order": Fault(
        lambda t: reorder_pictures(t, lambda p: np.random.default_rng(1).permutation(p)), SHUFFLED
    ),
    "pictures shifted by one row": Fault(
        lambda t: reorder_pictures(t, lambda p: np.roll(p, 1, axis=0)), SHUFFLED
    ),
    "pictures of another subject's list": Fault(
        lambda t: change_design(t, subjectim=lambda m: m[[1, 0, 2, 3, 4, 5, 6, 7]]), SHUFFLED
    ),
    "subject's pictures in another order": Fault(
        lambda t: change_design(t, subjectim=lambda m: np.c_[m[:, :8], m[:, :7:-1]]), SHUFFLED
    ),
    "test picture in training": Fault(lambda t: copy_test_picture(t, lambda p: p), LEAK),
    "test picture in training, mirrored": Fault(
        lambda t: copy_test_picture(t, lambda p: p[:, ::-1]), LEAK + ".*mirrored"
    ),
    "test picture in training, recompressed": Fault(
        lambda t: copy_test_picture(t, recompressed), LEAK
    ),
    "test picture in training, resized": Fault(lambda t: copy_test_picture(t, resampled), LEAK),
    "test picture in training, brighter": Fault(
        lambda t: copy_test_picture(
            t, lambda p: np.clip(p * 1.08, 0, 255).astype(np.uint8)
        ),
        LEAK,
    ),
}  # fmt: skip

COMMAND = {
    "subject 9": Fault(nothing, r"subject=9: NSD has subjects 1 to 8", ("--subject=9",)),
    "subject 0": Fault(nothing, r"subject=0: NSD has subjects 1 to 8", ("--subject=0",)),
    "a subject in words": Fault(nothing, r"subject", ("--subject=one",)),
    "a subject without files": Fault(nothing, r"subj05.*fetch nsd --subject 5", ("--subject=5",)),
    "a root that is not there": Fault(nothing, r"/nowhere/nsddata", ("--root=/nowhere",)),
    "betas of a version that is not there": Fault(
        nothing, r"no betas_sessionYY.*betas_assumehrf", ("--betas=betas_assumehrf",)
    ),
    "betas of an unknown version": Fault(nothing, r"betas", ("--betas=b9",)),
    "an unknown flag": Fault(nothing, r"--no-such-flag", ("--no-such-flag=1",)),
    "an unknown test set": Fault(
        nothing, r"no test set 'shared100'; .*shared1000, shared982, special515",
        ("--test=shared100",),
    ),
    "a column that NSD has not": Fault(nothing, r"no column split", ("--test=column",)),
    "a test list of unseen pictures": Fault(
        lambda t: t.list.write_text("99999\n"), r"test\.txt lists stimulus '99999'.*never saw", LIST
    ),
    "an empty test list": Fault(
        lambda t: t.list.write_text("\n"), r"no stimulus .*test\.txt", LIST
    ),
    "a test list in bytes": Fault(
        lambda t: t.list.write_bytes(b"\xff\xfe\x00"), r"test\.txt is not a readable list", LIST
    ),
    "a test list that is a folder": Fault(
        lambda t: t.list.mkdir(), r"no test set '.*test\.txt'", LIST
    ),
    "sessions that are not there": Fault(
        nothing, r"session 9 is not there; there are 1-3", ("--sessions=9",)
    ),
    "sessions in words": Fault(nothing, r"session 'one' is not of the form", ("--sessions=one",)),
    "sessions backwards": Fault(nothing, r"session '3-1' runs backwards", ("--sessions=3-1",)),
    "a session that is missing": Fault(
        lambda t: t.hdf5(2).unlink() or t.nii(2).unlink(), r"session 2 is not there; there are 1,3",
        ("--sessions=2",),
    ),
    "a negative size": Fault(nothing, r"size .* not -3", ("--size=-3",)),
    "a share above 1": Fault(nothing, r"val_share .* not 2", ("--val-share=2",)),
    "embeddings that are not there": Fault(
        nothing, r"none\.npy", ("--test=clusters", "--cluster-embeddings={root}/none.npy")
    ),
    "embeddings for another choice": Fault(
        nothing, r"cluster_embeddings", ("--cluster-embeddings={root}/none.npy",)
    ),
    "a damaged marker of simulation": Fault(
        lambda t: cut(t.root / "mindeye_miniature.json"), r"mindeye_miniature\.json is not readable"
    ),
}  # fmt: skip

FAULTS = {**BETAS, **NIFTI_BETAS, **REGIONS, **DESIGN, **PICTURES, **COMMAND}

PREPARED = (
    "a session copied under another number", "a trial twice in a session",
    "a voxel that never changes", "a saturated voxel", "a voxel saturated below",
    "a session of zeros", "a session of one trial repeated", "a slab of zeros",
    "nii copied under another number", "region moved by one voxel",
    "order shifted by one trial", "order shifted by one trial within sessions",
    "order shifted by one trial the other way", "order backwards",
    "order in another permutation", "trials shifted in the betas",
    "trials reversed in the betas", "sessions numbered in another order",
    "sessions counted anew after a missing one", "all pictures black",
    "pictures in another order", "pictures shifted by one row",
    "pictures of another subject's list", "subject's pictures in another order",
    "test picture in training", "test picture in training, mirrored",
    "test picture in training, recompressed", "test picture in training, resized",
    "test picture in training, brighter",
)  # fmt: skip
"""Faults that the reader cannot see, only the preparation."""
