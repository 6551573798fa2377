import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from mindeye.config import DecoderConfig, PriorConfig
from mindeye.models.decoder import Decoder
from mindeye.models.prior_network import PriorNetwork
from mindeye.models.sizes import Sizes
from mindeye.planning.footprint import count_step, trace_step

FLOAT = 4
WEIGHTS = 8 * 16 + 16 + 16 * 4 + 4
ROWS = 5


def two_layers():
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))


def adamw(model):
    return torch.optim.AdamW(model.parameters(), fused=True)


def plain_step(model, optimizer):
    loss = model(torch.randn(ROWS, 8)).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def pipeline(*, voxels=200, tokens=9, dim=64, width=128, batch=6, bf16=False, fused=True):
    """Decoder and prior, trained jointly as in the objective."""
    rng = torch.Generator().manual_seed(0)
    sizes = Sizes(voxels, tokens, dim, (4, 8, 8))
    decoder = DecoderConfig(width=width, blocks=4, input_layer="published", projector_width=2048)

    def build():
        return nn.ModuleDict(
            {
                "decoder": Decoder(decoder, sizes),
                "prior": PriorNetwork(PriorConfig(depth=2, heads=2, dim_head=32), sizes),
            }
        )

    def optimizer_of(model):
        return torch.optim.AdamW(model.parameters(), fused=fused)

    def step(model, optimizer):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            betas = torch.randn(batch, voxels, generator=rng)
            target = torch.randn(batch, tokens, dim, generator=rng)
            output = model["decoder"](betas)
            times = torch.randint(1000, (batch,), generator=rng)
            keep = torch.rand(batch, generator=rng) < 0.8
            predicted = model["prior"](target, times, output.backbone, keep_condition=keep)
            loss = functional.mse_loss(predicted.float(), target)
            loss = loss + functional.mse_loss(output.contrastive.float(), target)
        assert bool(torch.isfinite(loss))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return build, optimizer_of, step


def allocator_peak(build, make_optimizer, step):
    """Peak that torch's own allocator reports over two steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model = build()
        optimizer = make_optimizer(model)
        for _ in range(2):
            step(model, optimizer)
    found = []

    def collect(events):
        for event in events:
            if event.tag == torch._C._profiler._EventType.Allocation:
                size, total = event.extra_fields.alloc_size, event.extra_fields.total_allocated
                found.append((event.start_time_ns, size, total))
            collect(event.children)

    collect(profiled.profiler.kineto_results.experimental_event_tree())
    found.sort(key=lambda event: event[0])
    before = found[0][2] - found[0][1]
    return max(total for _, _, total in found) - before


def test_two_layers_take_the_bytes_counted_by_hand():
    footprint = trace_step(two_layers, adamw, plain_step)
    assert footprint.largest.parameters == FLOAT * WEIGHTS
    assert footprint.largest.gradients == FLOAT * WEIGHTS
    assert footprint.largest.optimizer == FLOAT * (2 * WEIGHTS + 4)  # 4 step counters
    assert footprint.largest.buffers == 0
    # batch, hidden before and after GELU; the loss and its gradient
    assert footprint.saved == FLOAT * (ROWS * 8 + 2 * ROWS * 16) + 2 * FLOAT


def test_at_the_peak_the_kinds_sum_to_the_peak():
    footprint = trace_step(two_layers, adamw, plain_step)
    assert footprint.peak == max(footprint.phase_peaks.values())
    assert footprint.peak == footprint.phase_peaks[footprint.peak_phase]
    assert footprint.peak < footprint.largest.total


def test_buffers_are_not_activations():
    def build():
        model = two_layers()
        model.register_buffer("table", torch.zeros(1000))
        return model

    assert trace_step(build, adamw, plain_step).largest.buffers == 1000 * FLOAT


def test_optimiser_state_is_part_of_every_forward_pass_but_the_first():
    one, two = (trace_step(two_layers, adamw, plain_step, steps=n) for n in (1, 2))
    state = two.largest.optimizer + two.largest.gradients
    assert two.phase_peaks["forward"] == one.phase_peaks["forward"] + state


def test_gradients_dropped_before_the_forward_pass_are_not_held_during_it():
    def early(model, optimizer):
        optimizer.zero_grad(set_to_none=True)
        plain_step(model, optimizer)

    late, soon = (trace_step(two_layers, adamw, step) for step in (plain_step, early))
    saving = late.phase_peaks["forward"] - soon.phase_peaks["forward"]
    assert saving == FLOAT * WEIGHTS


def test_unfused_adamw_needs_temporaries_and_fused_does_not():
    fused, plain = (trace_step(*pipeline(fused=fused)) for fused in (True, False))
    assert plain.phase_peaks["optimizer"] > fused.phase_peaks["optimizer"]
    assert plain.largest.optimizer == fused.largest.optimizer


def test_checkpointing_saves_less():
    def deep():
        return nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(6)])

    def step(model, optimizer, recompute):
        hidden = torch.randn(512, 64)
        for layer in model:
            hidden = checkpoint(layer, hidden, use_reentrant=False) if recompute else layer(hidden)
        hidden.sum().backward()
        optimizer.step()

    kept, recomputed = (
        trace_step(deep, adamw, lambda m, o, r=r: step(m, o, r)) for r in (False, True)
    )
    # what is left out is the hidden state before every GELU
    assert kept.saved - recomputed.saved >= 5 * 512 * 64 * FLOAT
    assert recomputed.peak < kept.peak


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bf16", [True, False])
def test_fake_and_real_tensors_have_the_same_footprint(bf16, fused):
    fake = trace_step(*pipeline(bf16=bf16, fused=fused))
    real = count_step(*pipeline(bf16=bf16, fused=fused))
    assert fake.peak == pytest.approx(real.peak, rel=1e-3)
    assert fake.saved == pytest.approx(real.saved, rel=1e-3)
    for kind in ("parameters", "buffers", "gradients", "optimizer"):
        assert getattr(fake.largest, kind) == getattr(real.largest, kind)


@pytest.mark.parametrize("bf16", [True, False])
def test_the_peak_is_the_one_of_the_allocator(bf16):
    step = pipeline(bf16=bf16)
    assert trace_step(*step).peak == pytest.approx(allocator_peak(*step), rel=5e-3)


def test_numbers_read_from_fake_tensors_are_one():
    read = []

    def step(model, optimizer):
        plain_step(model, optimizer)
        values = torch.randn(3)
        read.extend([bool(torch.isfinite(values[0])), float(values[1]), int(values.long()[2])])

    trace_step(two_layers, adamw, step, steps=1)
    assert read == [True, 1.0, 1]


def test_shapes_that_depend_on_numbers_are_refused():
    def step(model, optimizer):
        values = torch.randn(3)
        plain_step(model, optimizer)
        values[values > 0].sum()

    with pytest.raises(DynamicOutputShapeException):
        trace_step(two_layers, adamw, step)


def test_a_model_larger_than_memory_is_traced_without_allocating_it():
    before = _status("VmRSS")
    step = pipeline(voxels=15724, tokens=257, dim=768, width=16384, batch=2)
    footprint = trace_step(*step)
    assert footprint.largest.parameters > 15e9
    assert footprint.peak > 60e9
    assert _status("VmRSS") - before < 1e9


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [True, False])
def test_the_peak_is_the_resident_memory_of_a_fresh_process(bf16):
    # By default glibc keeps freed blocks below 32 MB, which is no property of the step.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    sizes = {"voxels": 2000, "tokens": 65, "dim": 256, "width": 1024, "batch": 32, "bf16": bf16}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(sizes)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = int(done.stdout.split()[-1])
    assert trace_step(*pipeline(**sizes)).peak == pytest.approx(measured, rel=0.1)


def _status(name):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _resident_peak(sizes):
    """Growth of resident memory over three real steps, once libraries are loaded."""

    def run(build, make_optimizer, step):
        model = build()
        optimizer = make_optimizer(model)
        for _ in range(3):
            step(model, optimizer)

    run(*pipeline(bf16=sizes["bf16"]))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    before = _status("VmRSS")
    run(*pipeline(**sizes))
    return _status("VmHWM") - before


if __name__ == "__main__":
    print(_resident_peak(json.loads(sys.argv[1])))
