"""Exponential moving average of the weights, kept beside the weights that are trained."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Moving average of a model's parameters; buffers are copied from the last update.

    After the first update the average is the model itself, after every other one
    `decay * average + (1 - decay) * model`. Buffers are copied because an average means nothing for
    them: they are constants (scales, schedules), counters, or running means already.

    Parameters
    ----------
    model
        Model to average; a copy on the same device is made, without gradients.
    decay
        Weight of the earlier average, in (0, 1); it looks back over about `1 / (1 - decay)`
        updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay is {decay}; it must lie between 0 and 1")
        self._average = AveragedModel(
            model,
            multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
            use_buffers=False,
        )
        # the copy takes gradients along, which are as large as the weights and never used
        self._average.zero_grad(set_to_none=True)
        self._average.requires_grad_(False)
        self._average.eval()

    @property
    def model(self) -> nn.Module:
        """The averaged model, in evaluation mode; shares no memory with the trained one."""
        module = self._average.module
        assert isinstance(module, nn.Module)
        return module

    def update(self, model: nn.Module) -> None:
        """Take the weights of `model` in, once after every optimiser step."""
        self._average.update_parameters(model)

    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the weights and buffers of `model` with the averaged ones."""
        model.load_state_dict(self.model.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average and the number of updates as tensors; not copied."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`.

        Raises
        ------
        RuntimeError
            If names or shapes are those of another model.
        """
        self._average.load_state_dict(dict(state))
