"""Published prompt formats, stop tokens and sampling defaults, as data.

Most repositories carry their chat template; these are for those that don't (Llama 2's first upload,
StarChat, early quantised copies). Where a line changed its format, the newer one is known by its tags.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from llm.families.base import Sampling

# The format of nearly every small open chat model (OpenAI's ChatML), for weights that carry no template.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Format:
    """A prompt format as a Jinja template.

    tags: what the vocabulary must have for it. stops: tags that end an answer, beside the repository's own.
    """

    template: str
    tags: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


_LLAMA_3 = Format(
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ("<|start_header_id|>", "<|eot_id|>"),
    ("<|eot_id|>",),
)
# The system text stands inside the first question.
_LLAMA_2 = Format(
    "{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}"
    "{% else %}{{ bos_token + '[INST] ' + ns.system + message['content'] | trim + ' [/INST]' }}"
    "{% set ns.system = '' %}{% endif %}{% endfor %}"
)
_MISTRAL = Format(
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\n\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}"
    "{% else %}{{ '[INST] ' + ns.system + message['content'] + ' [/INST]' }}{% set ns.system = '' %}{% endif %}"
    "{% endfor %}"
)
# No system role either.
_GEMMA = Format(
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\n\n' %}"
    "{% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' + ns.system"
    " + message['content'] | trim + '<end_of_turn>\n' }}{% set ns.system = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ("<start_of_turn>", "<end_of_turn>"),
    ("<end_of_turn>",),
)
_STARCHAT = Format(
    "{% if messages[0]['role'] != 'system' %}{{ '<|system|>\n<|end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ("<|end|>",),
)
_PHI_3 = Format(
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ("<|user|>", "<|assistant|>", "<|end|>"),
    ("<|end|>",),
)
_GLM_4 = Format(
    "{{ '[gMASK]<sop>' }}{% for message in messages %}"
    "{{ '<|' + ('observation' if message['role'] == 'tool' else message['role']) + '|>\n' + message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>"),
    ("<|endoftext|>", "<|user|>", "<|observation|>"),
)
_DEEPSEEK_TAGS = Format(
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
    ("<｜User｜>", "<｜Assistant｜>"),
    ("<｜end▁of▁sentence｜>",),
)
_DEEPSEEK_WORDS = Format(
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_CHATML = Format(CHATML, ("<|im_start|>", "<|im_end|>"), ("<|im_end|>", "<|endoftext|>"))
_INTERNLM_2 = Format("{{ bos_token }}" + CHATML, _CHATML.tags, ("<|im_end|>",))

# Line -> its formats, the newest first; the first whose tags the vocabulary has is taken.
FORMATS: dict[str, tuple[Format, ...]] = {
    "deepseek": (_DEEPSEEK_TAGS, _CHATML, _DEEPSEEK_WORDS),
    "gemma": (_GEMMA,),
    "glm": (_GLM_4,),
    "glm4": (_GLM_4,),
    "internlm": (_INTERNLM_2,),
    "llama": (_LLAMA_3, _CHATML, _LLAMA_2),
    "mistral": (_CHATML, _MISTRAL),
    "phi": (_PHI_3, _CHATML),
    "qwen": (_CHATML,),
    "smollm": (_CHATML,),
    "starchat": (_STARCHAT, _CHATML),
}

_CHAT = "defaults of `chat()` in modeling_chatglm.py"
_FILE = "generation_config.json"

SAMPLING: dict[str, Sampling] = {
    "baichuan": Sampling(
        {"temperature": 0.3, "top_p": 0.85, "top_k": 5, "repetition_penalty": 1.05}, f"Baichuan2-7B-Chat, {_FILE}"
    ),
    "chatglm": Sampling({"temperature": 0.95, "top_p": 0.7, "top_k": 50}, f"chatglm-6b, {_CHAT}"),
    "chatglm2": Sampling({"temperature": 0.8, "top_p": 0.8, "top_k": 50}, f"chatglm2-6b, {_CHAT}"),
    "chatglm3": Sampling({"temperature": 0.8, "top_p": 0.8, "top_k": 50}, f"chatglm3-6b, {_CHAT}"),
    "deepseek": Sampling({"temperature": 0.7, "top_p": 0.95, "top_k": 50}, f"deepseek-llm-7b-chat, {_FILE}"),
    "gemma": Sampling({"temperature": 1.0, "top_p": 0.95, "top_k": 64}, f"gemma-3-1b-it, {_FILE}"),
    "glm4": Sampling({"temperature": 0.8, "top_p": 0.8, "top_k": 50}, f"glm-4-9b-chat, {_FILE}"),
    "llama": Sampling({"temperature": 0.6, "top_p": 0.9, "top_k": 50}, f"Llama-2-7b-chat-hf, {_FILE}"),
    "qwen": Sampling(
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}, f"Qwen2.5-7B-Instruct, {_FILE}"
    ),
    "qwen-vl": Sampling({"temperature": 1.0, "top_p": 0.3, "top_k": 0}, f"Qwen-VL-Chat, {_FILE}"),
    "smollm": Sampling({"temperature": 0.2, "top_p": 0.9, "top_k": 50}, "SmolLM2-1.7B-Instruct, README.md"),
    "starchat": Sampling({"temperature": 0.2, "top_p": 0.95, "top_k": 50}, "starchat-beta, README.md"),
}


def format_of(family: str, tags: Collection[str]) -> Format:
    """The published format of a line, for a vocabulary with these tags; ChatML where none is known or fits."""
    known = FORMATS.get(family, ())
    return next((form for form in known if all(tag in tags for tag in form.tags)), _CHATML)


def sampling_of(family: str) -> Sampling:
    """A line's published sampling defaults; empty for lines without."""
    return SAMPLING.get(family, Sampling())
