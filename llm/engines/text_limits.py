"""How long a text may be for a network of transformers."""

from __future__ import annotations

from typing import Any

NO_LIMIT_TOKENS = 512
"""Window of models whose files name no limit (relative positions): memory grows with its square."""
_OFFSET_POSITIONS = {
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Their positions begin behind the padding's number, so that two of the table are never used."""


def limit_tokens(tokenizer: Any, config: Any) -> int:
    """Tokens that the model takes at once, control tokens included; `NO_LIMIT_TOKENS` where its files name none."""
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    named = (getattr(text_config, key, None) for key in ("max_position_embeddings", "n_positions", "max_length"))
    positions = next((int(value) for value in named if isinstance(value, int) and 20 < value < 1 << 30), None)
    if positions is not None and getattr(config, "model_type", "") in _OFFSET_POSITIONS:
        positions -= int(getattr(config, "pad_token_id", None) or 1) + 1
    limits = [limit for limit in (positions, int(tokenizer.model_max_length)) if limit and limit < 1 << 30]
    return min(limits, default=NO_LIMIT_TOKENS)
