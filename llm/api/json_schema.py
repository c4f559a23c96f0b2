"""JSON schemas of callers: bounded before anything compiles, never fetched, checked in linear time.

A schema reaches two libraries. llguidance (in llama.cpp) compiles it to a grammar: repetitions cost memory by their
counts, and what it does not know it refuses, so it is shown a copy of what it knows. jsonschema checks the finished
answer against the whole schema, with patterns matched by RE2, which cannot backtrack, and with references resolved in
a registry that holds nothing but the schema itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from llm.errors import InvalidRequest

MAX_BYTES = 256 << 10
MAX_DEPTH = 48
MAX_NODES = 10_000
MAX_COST = 100_000
"""Of repetitions: what a count multiplies. llguidance takes about a kilobyte for each."""
MAX_COUNT = 10_000
"""A longest length above this is left to the check of the answer, a least one is refused: no answer is so long."""
MAX_PATTERN = 1_000
MAX_PATTERNS = 64
MAX_INTEGER = 2**63

# What llguidance compiles (https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md). The rest is
# checked when the answer is there.
_KNOWN = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
    ]
)
_KNOWN_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"]
) - {"unknown"}
_SCHEMAS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_SCHEMAS = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema",
)  # fmt: skip
_IN_PLACE = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else")
_LEAST, _MOST = ("minItems", "minLength", "minProperties"), ("maxItems", "maxLength", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


@dataclass(frozen=True, slots=True)
class CheckedSchema:
    """A schema that may be used.

    schema: as the caller wrote it. for_engine: what the grammar engine is shown.
    """

    schema: Mapping[str, Any]
    for_engine: dict[str, Any]

    def check(self, text: str) -> None:
        """Whether an answer follows the schema.

        Raises:
            ValueError: it is no JSON, or breaks the schema; the message says where.
        """
        try:
            _Validator(self.schema, registry=Registry()).validate(json.loads(text))
        except (ValidationError, Unresolvable, RecursionError) as error:
            raise ValueError(str(getattr(error, "message", error))[:300]) from error


def checked(schema: Mapping[str, Any], param: str) -> CheckedSchema:
    """A caller's schema, within bounds.

    Args:
        param: the request's field that holds it, for the error.

    Raises:
        InvalidRequest: it is no JSON schema, is too large or too deep, points elsewhere, or asks for what cannot be
            matched in bounded time and memory; the sentence names the place.
    """
    try:
        _measure(schema)
        _Validator.check_schema(schema, format_checker=None)
        _check_patterns(schema)
        _check_references(schema)
        for_engine = _shown(schema)
        cost = _cost(schema, schema, {})
    except SchemaError as error:
        raise InvalidRequest(detail=f"that is no JSON schema: {error.message[:300]}", param=param) from error
    except RecursionError as error:
        raise InvalidRequest(detail="the schema is nested too deeply", param=param) from error
    except ValueError as error:
        raise InvalidRequest(detail=str(error), param=param) from error
    if cost > MAX_COST:
        raise InvalidRequest(detail=f"its repetitions multiply to more than {MAX_COST:,}", param=param)
    return CheckedSchema(schema, for_engine)


def _measure(schema: Mapping[str, Any]) -> None:
    """Bounds of size, without recursion and before anything else looks at it.

    Raises:
        ValueError: a bound is exceeded.
    """
    nodes, length = 0, 0
    rest: list[tuple[Any, int]] = [(schema, 1)]
    while rest:
        value, depth = rest.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the schema is nested more than {MAX_DEPTH} deep")
        if nodes > MAX_NODES:
            raise ValueError(f"the schema has more than {MAX_NODES:,} values")
        if isinstance(value, dict):
            length += sum(len(name) for name in value)
            rest += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            rest += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            length += len(value)
        elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            raise ValueError("the schema has an integer beyond 64 bits")
        if length > MAX_BYTES:
            raise ValueError(f"the schema's texts are longer than {MAX_BYTES >> 10} KiB")


def subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """(keyword, schema) of what stands directly inside a schema."""
    if not isinstance(schema, dict):
        return
    for keyword in _SCHEMAS_BY_NAME:
        if isinstance(schema.get(keyword), dict):
            yield from ((keyword, item) for item in schema[keyword].values())
    for keyword in _SCHEMA_LISTS:
        if isinstance(schema.get(keyword), list):
            yield from ((keyword, item) for item in schema[keyword])
    for keyword in _SINGLE_SCHEMAS:
        if isinstance(schema.get(keyword), dict):
            yield keyword, schema[keyword]


def _all(schema: Any) -> Iterator[dict[str, Any]]:
    rest = [schema]
    while rest:
        found = rest.pop()
        if isinstance(found, dict):
            yield found
            rest += [item for _, item in subschemas(found)]


def _check_patterns(schema: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: there are too many, or one cannot be matched in linear time.
    """
    found = [
        pattern for inner in _all(schema) for pattern in (inner.get("pattern"), *inner.get("patternProperties", ()))
    ]
    patterns = {pattern for pattern in found if pattern is not None}
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"the schema has more than {MAX_PATTERNS} patterns")
    for pattern in patterns:
        _compiled(pattern)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    """
    Raises:
        ValueError: it is too long, or needs what a linear matcher lacks (look-around, references back).
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = 1 << 20
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"the pattern {pattern[:80]!r} cannot be matched in linear time ({error})") from error


def _check_references(schema: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a reference leads out of the schema, to nothing, or back to itself without taking anything in.
    """
    for found in _all(schema):
        if "$dynamicRef" in found or "$recursiveRef" in found:
            raise ValueError("$dynamicRef is not supported; use $ref")
        if "$ref" in found:
            resolved(schema, found["$ref"])
        seen: set[int] = set()
        rest = [found]
        while rest:
            inner = rest.pop()
            if id(inner) in seen:
                continue
            seen.add(id(inner))
            here = [item for keyword, item in subschemas(inner) if keyword in _IN_PLACE]
            if "$ref" in inner:
                here.append(resolved(schema, inner["$ref"]))
            if any(item is found for item in here):
                raise ValueError("a $ref leads back to itself and takes nothing in on its way")
            rest += [item for item in here if isinstance(item, dict)]


def resolved(schema: Mapping[str, Any], reference: Any) -> Any:
    """What a local reference points to (RFC 6901).

    Raises:
        ValueError: it is not local, or leads to no schema.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise ValueError(f"$ref must point into the schema itself (#/$defs/...), not to {str(reference)[:100]!r}")
    found: Any = schema
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise ValueError(f"$ref {reference[:100]!r} leads to nothing")
    if not isinstance(found, (dict, bool)):
        raise ValueError(f"$ref {reference[:100]!r} leads to no schema")
    return found


def _cost(schema: Any, root: Mapping[str, Any], known: dict[int, int]) -> int:
    """How often the grammar may have to write something out: counts multiply what they repeat."""
    if not isinstance(schema, dict):
        return 1
    if id(schema) in known:
        return known[id(schema)]
    known[id(schema)] = 1  # what refers to itself is compiled once
    for name in _LEAST:
        if _number(schema.get(name)) > MAX_COUNT:
            raise ValueError(f"{name} is more than {MAX_COUNT:,}")
    counts = [_number(schema.get(name)) for name in (*_LEAST, *_MOST)]
    inner = 1 + sum(_cost(item, root, known) for _, item in subschemas(schema))
    if "$ref" in schema:
        inner += _cost(resolved(root, schema["$ref"]), root, known)
    known[id(schema)] = inner * max(1, *(count for count in counts if count <= MAX_COUNT))
    return known[id(schema)]


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def _shown(schema: Any) -> Any:
    """The part of a schema that the grammar engine knows. Objects that name their members get no others."""
    if not isinstance(schema, dict):
        return schema
    shown: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword not in _KNOWN or (keyword == "format" and value not in _KNOWN_FORMATS):
            continue
        if keyword in _MOST and _number(value) > MAX_COUNT:
            continue
        if keyword in _NUMBERS and isinstance(value, float) and not 1e-9 <= abs(value) <= 1e15 and value:
            continue
        if keyword in _SCHEMAS_BY_NAME:
            shown[keyword] = {name: _shown(item) for name, item in value.items()}
        elif keyword in _SCHEMA_LISTS:
            shown["anyOf" if keyword == "oneOf" and "anyOf" not in schema else keyword] = [_shown(i) for i in value]
        elif keyword in _SINGLE_SCHEMAS:
            shown[keyword] = _shown(value)
        else:
            shown[keyword] = value
    if "properties" in shown and not ({"additionalProperties", "patternProperties"} & schema.keys()):
        shown.setdefault("additionalProperties", False)
    return shown


def _matches(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _compiled(pattern).search(instance):
        yield ValidationError(f"{instance[:80]!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _compiled(pattern).search(name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named = schema.get("properties", {})
    patterns = [_compiled(pattern) for pattern in schema.get("patternProperties", {})]
    for name, value in instance.items():
        if name in named or any(pattern.search(name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError(f"{name[:80]!r} is not among the members")
        elif isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)


_Validator = extend(
    Draft202012Validator,
    {
        "pattern": _matches,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
