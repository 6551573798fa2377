"""The memory of a training step, counted on fake tensors: shapes and lifetimes, no numbers.

The step runs as it would in training; every operation reports its outputs and every storage its
end. Events are replayed afterwards, because only the end of a step tells which storages were
gradients and which optimiser state.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Phase = Literal["build", "forward", "backward", "optimizer"]
Kind = Literal["parameters", "buffers", "gradients", "optimizer", "activations"]
Step = Callable[[nn.Module, Optimizer], None]


@dataclass(frozen=True)
class Bytes:
    """Bytes by what they hold.

    Attributes
    ----------
    parameters, buffers, gradients, optimizer
        Bytes of the model and its optimiser.
    activations
        All else: batch, what is saved for backward, casts of weights, temporaries.
    """

    parameters: int = 0
    buffers: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """Sum over kinds."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Footprint:
    """What the memory of a step comes to.

    Attributes
    ----------
    at_peak
        What is alive at the moment of the peak; gradients may be incomplete then.
    largest
        The most that each kind takes at any moment; these moments differ, so that the total
        exceeds the peak.
    peak_phase
        When the peak is.
    phase_peaks
        The most that is alive during each phase.
    saved
        Activations alive when backward begins.
    """

    at_peak: Bytes
    largest: Bytes
    peak_phase: Phase
    phase_peaks: dict[Phase, int]
    saved: int

    @property
    def peak(self) -> int:
        """The most bytes that are alive at once."""
        return self.at_peak.total


@dataclass(frozen=True)
class _Event:
    storage: int
    change: int
    phase: Phase


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down when storages begin and end, while it is entered as a context.

    Works on fake and on real tensors alike. Counted are outputs of operations. What an operation
    allocates and frees inside itself is not seen: nothing much in the transformer and the MLP, a
    quarter of the peak in float32 convolutions on CPU, which oneDNN reorders.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[_Event] = []
        self.kinds: dict[int, Kind] = {}
        self._alive: dict[int, tuple[weakref.ref[torch.UntypedStorage], int, int]] = {}
        self._count = 0
        self._built = self._descended = False

    def __exit__(self, *error: Any) -> None:
        """Stop writing; what ends after this is not recorded."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._alive.clear()

    def begin_step(self) -> None:
        """Say that what follows is a forward pass."""
        self._built, self._descended = True, False

    def label(self, tensors: Iterable[Tensor | None], kind: Kind) -> None:
        """Say what tensors hold; the first label of a storage stays."""
        for tensor in tensors:
            if tensor is not None:
                entry = self._alive.get(tensor.untyped_storage()._cdata)
                if entry is not None:
                    self.kinds.setdefault(entry[1], kind)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and register its outputs."""
        try:
            outputs = func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            if func is not torch.ops.aten._local_scalar_dense.default:
                raise
            return _pretended_number(args[0].dtype)
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
                self._register(leaf.untyped_storage())
        return outputs

    def _register(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        reference, number, known = self._alive.get(key, (None, self._count, 0))
        if reference is None:
            self._count += 1
            reference = weakref.ref(storage, lambda _: self._end(key))
        if size != known:  # new, or resized
            self._alive[key] = reference, number, size
            self.events.append(_Event(number, size - known, self._phase()))

    def _end(self, key: int) -> None:
        _, number, size = self._alive.pop(key)
        self.events.append(_Event(number, -size, self._phase()))

    def _phase(self) -> Phase:
        if not self._built:
            return "build"
        if torch._C._current_graph_task_id() != -1:
            self._descended = True
            return "backward"
        # Clipping and the optimiser run without gradients; a second forward pass runs with them.
        return "optimizer" if self._descended and not torch.is_grad_enabled() else "forward"

    def footprint(self) -> Footprint:
        """Replay the events."""
        alive: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
        largest = dict(alive)
        at_peak, saved = Bytes(), 0
        peak_phase: Phase = "build"
        before: Phase = "build"
        phase_peaks: dict[Phase, int] = {}
        for event in self.events:
            if event.phase == "backward" and before != "backward":
                saved = max(saved, alive["activations"])
            before = event.phase
            kind = self.kinds.get(event.storage, "activations")
            alive[kind] += event.change
            largest[kind] = max(largest[kind], alive[kind])
            if event.change < 0:  # may come after the phase it ends; no peak anyway
                continue
            total = sum(alive.values())
            phase_peaks[event.phase] = max(phase_peaks.get(event.phase, 0), total)
            if total > at_peak.total:
                at_peak, peak_phase = Bytes(**alive), event.phase
        return Footprint(at_peak, Bytes(**largest), peak_phase, phase_peaks, saved)


def trace_step(
    build: Callable[[], nn.Module],
    make_optimizer: Callable[[nn.Module], Optimizer],
    step: Step,
    *,
    steps: int = 2,
) -> Footprint:
    """Count the memory of training steps without allocating it.

    Numbers read from tensors (`bool(torch.isfinite(loss))`, `float(loss)`) come out as 1; shapes
    that depend on numbers (`x[mask]`) raise. Tensors made outside of the three functions may be
    used but are not counted until they are copied.

    Parameters
    ----------
    build
        Makes the model where it is trained; no `model.to(device)`, which fake parameters do not
        survive.
    make_optimizer
        Makes the optimiser of the model.
    step
        One training step of model and optimiser: batch, forward, backward, update.
    steps
        How many; optimiser state appears at the end of the first, so that two are the least that
        show the peak.

    Returns
    -------
    Footprint
        Over all steps. It is what the allocator is asked for. What the process holds on CPU is
        more: glibc keeps freed blocks below 32 MB, and libraries load when they are first used.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        return count_step(build, make_optimizer, step, steps=steps)


def count_step(
    build: Callable[[], nn.Module],
    make_optimizer: Callable[[nn.Module], Optimizer],
    step: Step,
    *,
    steps: int = 2,
) -> Footprint:
    """Count the memory of training steps while they run; as `trace_step`, on real tensors."""
    ledger = Ledger()
    with ledger:
        model = build()
        ledger.label(model.parameters(), "parameters")
        ledger.label(model.buffers(), "buffers")
        optimizer = make_optimizer(model)

        def label_gradients(*_: Any) -> None:
            ledger.label((parameter.grad for parameter in model.parameters()), "gradients")

        optimizer.register_step_pre_hook(label_gradients)
        for _ in range(steps):
            ledger.begin_step()
            step(model, optimizer)
            state = tree_leaves(list(optimizer.state.values()))
            ledger.label((x for x in state if isinstance(x, Tensor)), "optimizer")
            label_gradients()  # a step that only accumulates calls no optimiser
    return ledger.footprint()


def _pretended_number(dtype: torch.dtype) -> bool | int | float:
    """Return 1 in the type that reading a number from a tensor of `dtype` gives."""
    if dtype is torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1
