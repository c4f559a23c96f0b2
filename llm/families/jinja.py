"""Chat templates run in a sandbox with bounds: a template is somebody's program, and comes with the weights.

The sandbox is the one that transformers uses (`ImmutableSandboxedEnvironment`, blocks trimmed, loop controls). To it
come bounds: steps of loops and calls, seconds, the size of every text, list and number that a template makes. What
exceeds them, or breaks in any other way, is said of the template; nothing hangs and nothing is taken down.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache, wraps
from types import BuiltinMethodType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llm.errors import BrokenTemplate, RefusedConversation

MAX_SOURCE = 512 << 10
"""Characters of a template. The longest that are published have 20,000."""
MAX_NESTING = 60
"""Brackets within brackets."""
MAX_STEPS = 2_000_000
MAX_SECONDS = 5.0
MAX_SIZE = 64 << 20
"""Characters of a text, items of a list. People's words are not in it: placeholders stand for them."""
MAX_ARGUMENT = 10_000
"""A number that is handed to a filter or a method, most of which make something of that size."""
MAX_BITS = 4096
_WIDE = re.compile(r"\d{5,}|\*")
_FORMATS = frozenset(("format", "format_map", "do_format"))


class _TooMuch(ValueError):
    """A bound was exceeded."""


class _Budget(threading.local):
    """What the rendering of this thread may still use."""

    steps = 0
    until = 0.0

    def begin(self) -> None:
        self.steps, self.until = MAX_STEPS, time.monotonic() + MAX_SECONDS

    def spend(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise _TooMuch(f"it takes more than {MAX_STEPS:,} steps")
        if self.steps % 256 == 0 and time.monotonic() > self.until:
            raise _TooMuch(f"it takes longer than {MAX_SECONDS:.0f} s")


_budget = _Budget()


def render(source: str, values: Mapping[str, Any]) -> str:
    """What the template makes of the values.

    Raises:
        RefusedConversation: it refuses them with a sentence of its own.
        BrokenTemplate: it cannot be compiled, breaks, or exceeds a bound.
    """
    template = _compiled(source)
    _budget.begin()
    try:
        return _joined(template.generate(**values))
    except RefusedConversation:
        raise
    except (Exception, RecursionError) as error:  # whatever somebody's program may do
        raise BrokenTemplate(detail=str(error) or type(error).__name__) from error


@cache
def _compiled(source: str) -> Any:
    detail = ""
    if len(source) > MAX_SOURCE:
        detail = f"it is longer than {MAX_SOURCE:,} characters"
    elif _nesting(source) > MAX_NESTING:
        detail = f"its brackets are nested more than {MAX_NESTING} deep"
    if detail:
        raise BrokenTemplate(detail=detail)
    try:
        return _environment().from_string(source)
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise BrokenTemplate(detail=str(error) or type(error).__name__) from error


def _nesting(source: str) -> int:
    """How deep brackets stand within brackets, those in quotes counted too; closed ones no longer count."""
    depth = deepest = 0
    for match in re.finditer(r"[(\[{]|[)\]}]", source):
        depth = max(0, depth + (1 if match[0] in "([{" else -1))
        deepest = max(deepest, depth)
    return deepest


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` marks what is trained; for a prompt it is just its contents."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Generator(CodeGenerator):
    """Joins with `~` go through the environment's bounded `concat`."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat_all((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Bounded(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Call(nodes.EnvironmentAttribute("counted"), [loop.iter], [], None, None)
        return tree

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items of a loop, each a step."""
        for item in items:
            _budget.spend()
            yield item

    def concat_all(self, parts: Iterable[Any]) -> str:
        return _joined(map(str, parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _budget.spend()
        if operator == "%" and isinstance(left, str) and _WIDE.search(left):
            raise _TooMuch("it formats a text with a width that is too large")
        if operator == "**" and isinstance(right, int) and isinstance(left, int):
            _small(left.bit_length() * max(right, 0), MAX_BITS)
        if operator == "*":
            for items, count in ((left, right), (right, left)):
                if isinstance(items, (str, list, tuple)) and isinstance(count, int):
                    _small(len(items) * count, MAX_SIZE)
        return _sized(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _budget.spend()
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        if isinstance(method, BuiltinMethodType):
            _check_arguments(method.__name__, method.__self__, args, kwargs)
        return _sized(super().call(__context, __obj, *args, **kwargs))


def _environment() -> _Bounded:
    environment = _Bounded(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.concat = _joined  # type: ignore[method-assign]
    environment.filters = {name: _bounded(function) for name, function in environment.filters.items()}
    environment.filters["tojson"] = _tojson
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _refuse(message: str) -> None:
    raise RefusedConversation(detail=message)


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    """As transformers has it: JSON that stays readable."""
    _small(indent or 0, 16)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments and result are bounded. jinja2 marks by attributes what a filter wants to be passed."""

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        _budget.spend()
        values = [value for value in args if isinstance(value, (str, int, list, tuple))]
        _check_arguments(function.__name__, values[0] if values else None, values[1:], kwargs)
        return _sized(function(*args, **kwargs))

    return inner


def _check_arguments(name: str, subject: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    """
    Raises:
        _TooMuch: a number is so large, or a text would be repeated so often, that the result could be huge.
    """
    given = [*args, *kwargs.values()]
    for value in given:
        if isinstance(value, int):
            _small(abs(value), MAX_ARGUMENT)
    if not isinstance(subject, str):
        return
    if any(isinstance(value, int) and not isinstance(value, bool) for value in given):
        _small((subject.count("\n") + 1) * max(abs(value) for value in given if isinstance(value, int)), MAX_SIZE)
    if name in _FORMATS and _WIDE.search(subject):
        raise _TooMuch("it formats a text with a width that is too large")
    longest = max((len(value) for value in given if isinstance(value, (str, list, tuple))), default=0)
    _small(len(subject) * longest, MAX_SIZE)


def _small(size: float, bound: int) -> None:
    if size > bound:
        raise _TooMuch(f"it makes something of {size:,} where {bound:,} is the bound")


def _sized(value: Any) -> Any:
    if isinstance(value, (str, list, tuple)):
        _small(len(value), MAX_SIZE)
    elif isinstance(value, int):
        _small(value.bit_length(), MAX_BITS)
    return value


def _joined(parts: Iterable[str]) -> str:
    """The parts as one text, of bounded size and made in bounded time."""
    size = 0
    kept = []
    for part in parts:
        _budget.spend()
        size += len(part)
        _small(size, MAX_SIZE)
        kept.append(part)
    return "".join(kept)
