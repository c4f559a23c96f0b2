"""How a model folder says that its vectors of texts are made: the files of sentence-transformers beside the weights.

`modules.json` lists the steps, `1_Pooling/config.json` how tokens become one vector, `sentence_bert_config.json` how
long a text may be, `config_sentence_transformers.json` what stands before questions and passages
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html). JSON only: nothing of the folder is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from llm.catalogue.json_file import read_json
from llm.errors import CorruptModel, UnsupportedModel

Pooling: TypeAlias = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
_FLAGS: Mapping[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""In the order in which sentence-transformers joins them where several are on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done with a text besides the network.

    pooling: how the tokens' vectors become one; of several the results are joined. dense: folders of linear layers that
    follow, in order. max_tokens: the longest text, control tokens included; 0 says nothing. lower: whether texts are
    lower-cased first.
    """

    pooling: tuple[Pooling, ...] = ("mean",)
    dense: tuple[str, ...] = ()
    max_tokens: int = 0
    lower: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""


def says_embeds(folder: Path) -> bool:
    """Whether the folder holds sentence-transformers' list of steps, and it begins with a transformer."""
    modules = _object(folder / "modules.json", list)
    return bool(modules) and isinstance(modules[0], dict) and _step(modules[0]) == "Transformer"


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a folder; the mean of its tokens where it says nothing, as sentence-transformers does.

    Raises:
        UnsupportedModel: it wants a step that is not known here.
        CorruptModel: one of the files is damaged.
    """
    pooling: tuple[Pooling, ...] = ("mean",)
    dense: list[str] = []
    for module in _object(folder / "modules.json", list):
        place, step = _inside(folder, module), _step(module)
        if step == "Pooling":
            pooling = _pooling(place)
        elif step == "Dense":
            dense.append(str(module["path"]))
        elif step not in ("Transformer", "Normalize"):
            raise UnsupportedModel(
                path=str(folder), detail=f"its vectors take a step {step!r}, which is not known here"
            )
    text = _object(folder / "sentence_bert_config.json", dict)
    limit = text.get("max_seq_length")
    query, passage = _prompts(folder)
    return Recipe(
        pooling,
        tuple(dense),
        limit if isinstance(limit, int) and limit > 0 else 0,
        text.get("do_lower_case") is True,
        query,
        passage,
    )


def _prompts(folder: Path) -> tuple[str, str]:
    """What stands before a question and before a passage."""
    settings = _object(folder / "config_sentence_transformers.json", dict)
    prompts = settings.get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    always = prompts.get(settings.get("default_prompt_name") or "", "")
    query = prompts.get("query", always)
    passage = prompts.get("document", prompts.get("passage", always))
    return str(query or ""), str(passage or "")


def _pooling(place: Path) -> tuple[Pooling, ...]:
    config = read_json(place / "config.json")
    if not isinstance(config, dict):
        raise CorruptModel(path=str(place), detail="its config.json is no object")
    if config.get("include_prompt") is False:
        raise UnsupportedModel(path=str(place), detail="it pools without the prompt, which is not done here")
    named = config.get("pooling_mode")
    if named is None:
        found: tuple[Any, ...] = tuple(mode for flag, mode in _FLAGS.items() if config.get(flag) is True)
    else:
        found = tuple(named) if isinstance(named, list) else (named,)
    if not found or not set(found) <= set(get_args(Pooling)):
        raise UnsupportedModel(path=str(place), detail=f"its pooling {found or config!r} is not known here")
    return cast(tuple[Pooling, ...], found)


def _step(module: Any) -> str:
    return str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""


def _inside(folder: Path, module: Any) -> Path:
    """A step's folder, which must not lead out of the model's own."""
    place = folder / str(module.get("path", "") if isinstance(module, dict) else "")
    if not place.resolve().is_relative_to(folder.resolve()):
        raise CorruptModel(path=str(folder), detail="its modules.json names a place outside of it")
    return place


def _object(path: Path, kind: type[Any]) -> Any:
    """The JSON of a file; an empty one where there is no file."""
    if not path.is_file():
        return kind()
    value = read_json(path)
    if not isinstance(value, kind):
        raise CorruptModel(path=str(path), detail=f"it is no {'list' if kind is list else 'object'}")
    return value
