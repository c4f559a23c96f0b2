"""Tables that follow from the configuration: buffers that no weight file holds."""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization


class Tables(nn.Module):
    """A module that can compute its tables; models fill them when they load."""

    def tables(self) -> dict[str, torch.Tensor]:
        """Values of the buffers, by name."""
        raise TypeError(f"{type(self).__name__} has no tables")

    def make_tables(self) -> None:
        """Makes the buffers, to be called once in `__init__`."""
        for name, value in self.tables().items():
            self.register_buffer(name, value, persistent=False)


class FillsTables:
    """For models: fills the tables of their modules, which transformers leaves empty while it loads."""

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Tables):
            for name, value in module.tables().items():
                initialization.copy_(getattr(module, name), value)
        else:
            super()._init_weights(module)  # type: ignore[misc]
