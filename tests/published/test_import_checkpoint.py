"""Importing checkpoints of the authors: tiny ones of each kind, broken ones, full-size ones."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

import published_models
from mindeye.cli import main
from mindeye.diffusion import NoiseSchedule
from mindeye.errors import CheckpointError
from mindeye.files import read_json, sha256
from mindeye.models.decoder import Decoder
from mindeye.published.imported import PublishedHigh, import_checkpoint, load_imported
from mindeye.published.names import (
    decoder_to_published,
    lowlevel_to_published,
    prior_to_published,
)
from parity.fixtures import golden_folder, read_entry, read_manifest

TIMESTEPS = 10
BETAS = torch.linspace(-1, 1, 10).view(2, 5)

State = dict[str, Tensor]

needs_golden = pytest.mark.skipif(
    not (golden_folder() / "manifest.json").is_file(), reason="no parity fixtures on this machine"
)


def _under(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def _high_state(**prior: Any) -> State:
    schedule = NoiseSchedule.named("cosine", TIMESTEPS).published()
    return {
        **_under("voxel2clip", decoder_to_published(published_models.decoder().state_dict())),
        **_under("net", prior_to_published(published_models.prior(**prior).state_dict())),
        **_under("noise_scheduler", schedule),
    }


def _backbone_state() -> State:
    return decoder_to_published(published_models.decoder().state_dict())


def _low_state() -> State:
    return lowlevel_to_published(published_models.low_level().state_dict())


def _text_prior_state() -> State:
    """A 1 x 768 checkpoint in small: our backbone, the other prior's most telling keys."""
    state = {k: v for k, v in _high_state().items() if not k.startswith("net.")}
    net = {
        "learned_query": torch.ones(8),
        "null_text_encodings": torch.ones(1, 4, 8),
        "null_text_embeds": torch.ones(1, 1, 8),
        "null_image_embed": torch.ones(1, 8),
        "to_time_embeds.0.weight": torch.ones(TIMESTEPS, 8),
        "causal_transformer.layers.0.0.to_q.weight": torch.ones(8, 8),
        "causal_transformer.layers.0.1.3.g": torch.ones(8),
    }
    return {**state, **_under("net", net)}


STATES = {"high": _high_state, "backbone": _backbone_state, "low": _low_state}


def _training_file(path: Path, state: State, **more: Any) -> Path:
    torch.save({"epoch": 239, "model_state_dict": state, "lrs": [1e-3], **more}, path)
    return path


def _refused(source: Path, out: Path, message: str) -> None:
    """Refused in one line that names the file; nothing is left behind."""
    before = set(out.parent.iterdir())
    with pytest.raises(CheckpointError, match=message) as caught:
        import_checkpoint(source, out)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(out.parent.iterdir()) == before


def test_high_level_checkpoint_decodes_and_denoises_alike_before_and_after(tmp_path: Path) -> None:
    decoder, prior = published_models.decoder(), published_models.prior()
    state = {
        **_under("voxel2clip", decoder_to_published(decoder.state_dict())),
        **_under("net", prior_to_published(prior.state_dict())),
        **_under("noise_scheduler", NoiseSchedule.named("cosine", TIMESTEPS).published()),
    }
    import_checkpoint(_training_file(tmp_path / "last.pth", state), tmp_path / "out")
    model = load_imported(tmp_path / "out")
    assert isinstance(model, PublishedHigh)
    assert not model.training
    expected = decoder(BETAS)
    assert torch.equal(model(BETAS).backbone, expected.backbone)
    assert torch.equal(model(BETAS).contrastive, expected.contrastive)
    noisy, times = torch.randn(2, 3, 8), torch.tensor([3, 7])
    assert torch.equal(
        model.prior(noisy, times, expected.backbone), prior(noisy, times, expected.backbone)
    )
    own = NoiseSchedule.named("cosine", TIMESTEPS)
    assert torch.equal(
        model.schedule.q_sample(noisy, times, noisy), own.q_sample(noisy, times, noisy)
    )


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("activation_first", [False, True])
def test_bare_backbone_decodes_alike(tmp_path: Path, norm: str, activation_first: bool) -> None:
    model = published_models.decoder(norm=norm, activation_first=activation_first)
    state = decoder_to_published(model.state_dict(), activation_first=activation_first)
    torch.save(state, tmp_path / "bare.pth")
    import_checkpoint(tmp_path / "bare.pth", tmp_path / "out")
    rebuilt = load_imported(tmp_path / "out")
    assert torch.equal(rebuilt(BETAS).contrastive, model(BETAS).contrastive)


@pytest.mark.parametrize("maps_width", [None, 6])
def test_low_level_checkpoint_draws_the_same_latents(
    tmp_path: Path, maps_width: int | None
) -> None:
    model = published_models.low_level(maps_width=maps_width)
    state = lowlevel_to_published(model.state_dict())
    import_checkpoint(_training_file(tmp_path / "ckpt.pth", state), tmp_path / "out")
    rebuilt = load_imported(tmp_path / "out")
    assert torch.equal(rebuilt(BETAS).latents, model(BETAS).latents)
    assert (rebuilt(BETAS).maps is None) is (maps_width is None)


def test_one_token_checkpoint_gives_its_backbone_and_tells_what_was_left_out(
    tmp_path: Path,
) -> None:
    state = _text_prior_state()
    description = import_checkpoint(_training_file(tmp_path / "a.pth", state), tmp_path / "out")
    assert description["left_out"] == {"net": "7 tensors of a text-conditioned prior"}
    rebuilt = load_imported(tmp_path / "out")
    assert isinstance(rebuilt, Decoder)
    assert torch.equal(rebuilt.output.weight, state["voxel2clip.lin1.weight"])
    state["net.surprise"] = torch.ones(1)
    source = _training_file(tmp_path / "b.pth", state)
    _refused(source, tmp_path / "other", r"unexpected key net\.surprise")


@needs_golden
@pytest.mark.parametrize("kind", ["backbone", "lowlevel"])
def test_imported_fixtures_give_the_outputs_of_the_original(tmp_path: Path, kind: str) -> None:
    files = read_manifest(golden_folder())
    names = [name for name, entry in files.items() if entry["kind"] == kind]
    assert names
    for name in names:
        entry, out = read_entry(golden_folder(), name, files), tmp_path / Path(name).stem
        import_checkpoint(_training_file(tmp_path / "x.pth", entry.state), out)
        model, betas = load_imported(out), entry.arrays["in/voxels"]
        if kind == "backbone":
            given, wanted = model(betas).backbone.flatten(1), entry.arrays["out/backbone"]
        else:
            given, wanted = model(betas).latents, entry.arrays["out/latents"]
        torch.testing.assert_close(given, wanted, atol=2e-5, rtol=1e-4)


@needs_golden
def test_imported_prior_fixture_gives_the_output_of_the_original(tmp_path: Path) -> None:
    files = read_manifest(golden_folder())
    entry = read_entry(golden_folder(), "prior_network/pos_emb.npz", files)
    buffers = read_entry(golden_folder(), "prior/noise_schedules.npz", files)
    decoder = published_models.decoder(tokens=5, token_dim=768, width=4)
    state = {
        **_under("voxel2clip", decoder_to_published(decoder.state_dict())),
        **_under("net", entry.state),
        **_under("noise_scheduler", buffers.under("cosine_100")),
    }
    import_checkpoint(_training_file(tmp_path / "last.pth", state), tmp_path / "out")
    model, arrays = load_imported(tmp_path / "out"), entry.arrays
    given = model.prior(arrays["in/image_embed"], arrays["in/timesteps"], arrays["in/brain_embed"])
    torch.testing.assert_close(given, arrays["out/cond"], atol=2e-5, rtol=1e-4)


def test_config_says_kind_every_size_source_and_versions(tmp_path: Path) -> None:
    source = _training_file(tmp_path / "last.pth", _high_state())
    import_checkpoint(source, tmp_path / "out")
    config = read_json(tmp_path / "out" / "config.json")
    assert config["kind"] == "published-high"
    assert config["decoder"] == published_models.DECODER
    assert config["prior"] == published_models.PRIOR
    assert config["schedule"] == {"name": "cosine", "timesteps": TIMESTEPS}
    assert config["source"] == {"file": "last.pth", "sha256": sha256(source)}
    assert {"mindeye", "torch"} <= set(config["versions"])


def test_backbone_without_projector_takes_the_published_width(tmp_path: Path) -> None:
    model = published_models.decoder(tokens=2, token_dim=768, width=4, projector=False)
    torch.save(decoder_to_published(model.state_dict()), tmp_path / "bare.pth")
    description = import_checkpoint(tmp_path / "bare.pth", tmp_path / "out")
    assert (description["decoder"]["tokens"], description["decoder"]["token_dim"]) == (2, 768)


def test_names_of_distributed_training_and_half_precision_are_read(tmp_path: Path) -> None:
    state = {f"module.{key}": value.half() for key, value in _backbone_state().items()}
    torch.save(state, tmp_path / "bare.pth")
    import_checkpoint(tmp_path / "bare.pth", tmp_path / "out")
    weight = load_imported(tmp_path / "out").output.weight
    assert torch.equal(weight, state["module.lin1.weight"].float())


def test_file_of_the_older_format_is_read(tmp_path: Path) -> None:
    torch.save(_backbone_state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert import_checkpoint(tmp_path / "old.pth", tmp_path / "out")["kind"] == "published-backbone"


def test_schedule_state_of_older_torch_is_read_and_nothing_in_it_is_called(tmp_path: Path) -> None:
    """With torch 2.0 `anneal_func` is pickled as a call of getattr."""
    before = set(map(str, torch.serialization.get_safe_globals()))
    scheduler = {"total_steps": 3, "anneal_func": OneCycleLR._annealing_cos}
    source = _training_file(tmp_path / "last.pth", _backbone_state(), lr_scheduler=scheduler)
    with pytest.raises(pickle.UnpicklingError, match="getattr"):
        torch.load(source, weights_only=True)
    import_checkpoint(source, tmp_path / "out")
    assert set(map(str, torch.serialization.get_safe_globals())) == before


SPOILT = [
    ("high", "voxel2clip.lin1.bias"),
    ("high", "voxel2clip.lin0.0.weight"),
    ("high", "voxel2clip.mlp.1.0.weight"),
    ("high", "voxel2clip.projector.0.weight"),
    ("high", "net.causal_transformer.layers.1.0.null_kv"),
    ("high", "net.null_brain_embeds"),
    ("high", "net.to_time_embeds.0.1.net.2.bias"),
    ("high", "noise_scheduler.betas"),
    ("high", "noise_scheduler.posterior_variance"),
    ("backbone", "mlp.0.1.bias"),
    ("low", "upsampler.conv_out.weight"),
    ("low", "upsampler.up_blocks.1.resnets.0.conv1.weight"),
    ("low", "upsampler.mid_block.attentions.0.query.bias"),
    ("low", "maps_projector.0.weight"),
]


@pytest.mark.parametrize(("kind", "key"), SPOILT)
def test_a_missing_key_is_named(tmp_path: Path, kind: str, key: str) -> None:
    state = STATES[kind]()
    del state[key]
    source = _training_file(tmp_path / "x.pth", state)
    _refused(source, tmp_path / "out", rf"missing {key.replace('.', '[.]')}")


@pytest.mark.parametrize(("kind", "key"), SPOILT)
def test_a_key_with_another_number_of_axes_is_named(tmp_path: Path, kind: str, key: str) -> None:
    state = STATES[kind]()
    state[key] = state[key][None]
    source = _training_file(tmp_path / "x.pth", state)
    _refused(source, tmp_path / "out", key.replace(".", "[.]"))


@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("high", "voxel2clip.lin1.bias", r"voxel2clip\.lin1\.bias is \(23,\), expected \(24,\)"),
        ("high", "net.learned_query", r"net\.learned_query is \(2, 8\), expected \(3, 8\)"),
        ("backbone", "mlp.1.1.weight", r"mlp\.1\.1\.weight is \(7,\), expected \(8,\)"),
        ("low", "norm.bias", r"norm\.bias is \(31,\), expected \(32,\)"),
    ],
)
def test_a_wrong_shape_is_named_with_the_right_one(
    tmp_path: Path, kind: str, key: str, message: str
) -> None:
    state = STATES[kind]()
    state[key] = state[key][:-1].clone()
    _refused(_training_file(tmp_path / "x.pth", state), tmp_path / "out", message)


@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("high", "voxel2clip.lin9.weight", r"voxel2clip\..*lin9\.weight"),
        ("high", "net.extra", r"net\..*extra"),
        ("high", "clip.visual.proj", r"unexpected key clip\.visual\.proj"),
        ("high", "noise_scheduler.extra", r"unexpected noise_scheduler\.extra"),
        ("high", "voxel2clip.mlp.99999999999.0.weight", r"missing voxel2clip\.mlp\.2\.0\.weight"),
        ("backbone", "lin1.gain", r"unexpected lin1\.gain"),
        ("low", "upsampler.extra.weight", r"unexpected upsampler\.extra\.weight"),
    ],
)
def test_an_unexpected_key_is_named(tmp_path: Path, kind: str, key: str, message: str) -> None:
    state = {**STATES[kind](), key: torch.ones(1)}
    _refused(_training_file(tmp_path / "x.pth", state), tmp_path / "out", message)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "key"), [("high", "net.learned_query"), ("low", "lin1.weight")])
def test_weights_that_are_not_finite_are_named(
    tmp_path: Path, kind: str, key: str, value: float
) -> None:
    state = STATES[kind]()
    state[key].view(-1)[-1] = value
    message = rf"{key.replace('.', '[.]')} not finite"
    _refused(_training_file(tmp_path / "x.pth", state), tmp_path / "out", message)


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    source = _training_file(tmp_path / "x.pth", _high_state(num_tokens=4))
    _refused(source, tmp_path / "out", r"voxel2clip gives tokens \(3, 8\), .* is \(4, 8\)")


def test_noise_of_another_schedule_is_refused_by_name(tmp_path: Path) -> None:
    state = _high_state()
    state["noise_scheduler.alphas_cumprod"] = state["noise_scheduler.alphas_cumprod"] * 0.9
    source = _training_file(tmp_path / "x.pth", state)
    _refused(source, tmp_path / "out", r"noise_scheduler\.\w+ belongs to another schedule")


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.0])
def test_a_truncated_file_is_told_as_such(tmp_path: Path, kept: float) -> None:
    whole = _training_file(tmp_path / "whole.pth", _high_state()).read_bytes()
    source = tmp_path / "cut.pth"
    source.write_bytes(whole[: int(len(whole) * kept)])
    _refused(source, tmp_path / "out", r"cut off|torn")


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("form", ["torch", "older torch", "plain pickle"])
@pytest.mark.parametrize("place", ["beside", "among"])
def test_code_in_a_file_is_named_and_does_not_run(tmp_path: Path, form: str, place: str) -> None:
    trace, source = tmp_path / "it-ran", tmp_path / "x.pth"
    content: dict[str, Any] = {"model_state_dict": _backbone_state()}
    (content if place == "beside" else content["model_state_dict"])["extra"] = Payload(trace)
    if form == "plain pickle":
        source.write_bytes(pickle.dumps({"model_state_dict": {"extra": Payload(trace)}}, 2))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=form == "torch")
    _refused(source, tmp_path / "out", r"names code \(\w+\.system\)")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))  # the payload does work
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "'epoch' is no tensor but a value of type int"),
        ({"model_state_dict": {}}, "holds no model_state_dict"),
        ([torch.ones(2)], "but a list"),
        ({"classifier.weight": torch.ones(2, 2)}, r"no model .* has the key classifier\.weight"),
        ({"lin1.weight": torch.ones(2, 2, dtype=torch.int64)}, "not plain floating point"),
        ({"lin1.weight": torch.ones(1).expand(9, 9)}, "its data are smaller"),
    ],
)
def test_a_file_of_another_kind_is_told_as_such(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    _refused(tmp_path / "x.pth", tmp_path / "out", message)


def test_text_and_absent_files_are_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("not a checkpoint\n")
    _refused(tmp_path / "x.pth", tmp_path / "out", "no checkpoint of torch")
    _refused(tmp_path / "absent.pth", tmp_path / "out", "is no file")


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    source, out = _training_file(tmp_path / "x.pth", _backbone_state()), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already"):
        import_checkpoint(source, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_an_import_cut_off_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _training_file(tmp_path / "x.pth", _backbone_state())

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mindeye.models.pipelines.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        import_checkpoint(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("damage", ["size", "kind", "torn", "no config"])
def test_a_damaged_folder_is_not_rebuilt(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    import_checkpoint(_training_file(tmp_path / "x.pth", _backbone_state()), out)
    config, weights = out / "config.json", out / "model.safetensors"
    content = read_json(config)
    if damage == "size":
        content["decoder"]["width"] = 9
    elif damage == "kind":
        content["kind"] = "high"
    config.write_text(json.dumps(content))
    if damage == "torn":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "no config":
        config.unlink()
    with pytest.raises(CheckpointError):
        load_imported(out)


def test_the_command_imports_and_tells_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _training_file(tmp_path / "last.pth", _high_state())
    words = ["import-checkpoint", str(source), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "'voxels': 5" in capsys.readouterr().out
    assert isinstance(load_imported(tmp_path / "out"), PublishedHigh)
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told.startswith("mindeye: ")
    assert told.count("\n") == 1


FULL_SIZE = golden_folder() / "full_size"
FULL = {
    "one token": ("voxel2clip_1x768_subj01.json", None, 142_076_928),
    "low": ("lowlevel_subj01.json", "published_h4096_4x_cont", 206_065_604),
    "high": ("mindeye_subj01.json", None, 1_003_635_088),
}
PATTERN = 1 << 20


def _synthetic(key: str, shape: list[int], rng: torch.Generator) -> Tensor:
    """Weights that differ between tensors, made cheaply: one random stretch, repeated."""
    prefix, _, rest = key.partition(".")
    if prefix == "noise_scheduler":
        return NoiseSchedule.named("cosine", *shape).published()[rest]
    if key.endswith("rotary_emb.freqs"):
        return torch.linspace(1, 1e-4, *shape)
    value = torch.empty(shape)
    stretch = torch.randn(min(value.numel(), PATTERN), generator=rng) * 0.02
    for part in value.view(-1).split(PATTERN):
        part.copy_(stretch[: len(part)])
    return value


@pytest.mark.slow
@pytest.mark.skipif(not FULL_SIZE.is_dir(), reason="no key lists of the published checkpoints")
@pytest.mark.parametrize("model", FULL)
def test_a_full_size_checkpoint_imports_in_less_memory_than_two_copies(
    tmp_path: Path, model: str
) -> None:
    file, configuration, parameters = FULL[model]
    document = read_json(FULL_SIZE / file)
    keys = (document[configuration] if configuration else document)["keys"]
    rng = torch.Generator().manual_seed(0)
    state = {key: _synthetic(key, shape, rng) for key, shape in keys.items()}
    source, out = _training_file(tmp_path / "last.pth", state), tmp_path / "out"
    del state

    words = [sys.executable, "-m", "mindeye", "import-checkpoint", str(source), "--out", str(out)]
    with subprocess.Popen(words) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    megabytes = used.ru_maxrss / 1024
    print(f"{model}: {used.ru_utime + used.ru_stime:.1f} s of CPU, peak {megabytes:.0f} MB")
    assert megabytes < 2 * source.stat().st_size / 1e6 + 500  # torch itself takes some 400

    rebuilt = load_imported(out)
    buffers = [b for name, b in rebuilt.named_buffers() if name.endswith("frequencies")]
    assert sum(value.numel() for value in [*rebuilt.parameters(), *buffers]) == parameters
    weights = torch.load(source, mmap=True, weights_only=True)["model_state_dict"]
    prefix = "voxel2clip." if model == "high" else ""
    backbone = rebuilt.decoder if isinstance(rebuilt, PublishedHigh) else rebuilt
    output = backbone.to_seed if model == "low" else backbone.output
    assert torch.equal(output.weight, weights[f"{prefix}lin1.weight"])
    with torch.no_grad():
        assert rebuilt(torch.ones(1, 15724))[0].isfinite().all()
    for large in (source, out / "model.safetensors"):
        large.unlink()
