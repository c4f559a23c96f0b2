"""The report for bug reports: findings, machine and the log's last lines, without names, tokens or home folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llm.diagnostics.checks import Check
from llm.diagnostics.packages import packages
from llm.machine.hardware import hardware
from llm.redaction import redact

LOG_LINES = 40
_MARK = {"ok": "✅", "warn": "⚠️", "fail": "❌"}


@dataclass(frozen=True, slots=True)
class Report:
    """Findings, ready to be handed on. self_test: the self-test's figures, if it ran."""

    checks: Sequence[Check]
    log_lines: Sequence[str] = ()
    self_test: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, redacted."""
        machine = asdict(hardware())
        for gpu in machine["gpus"]:
            gpu.pop("uuid")  # it names one card in the world
            gpu["processes"] = len(gpu["processes"])
        found: dict[str, Any] = {
            "hardware": machine,
            "checks": [check.to_dict() for check in self.checks],
            "packages": {package.name: package.installed for package in packages()},
            "self_test": self.self_test,
            "log": list(self.log_lines[-LOG_LINES:]),
        }
        cleaned: dict[str, Any] = _clean(found)
        return cleaned

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def to_markdown(self) -> str:
        """For an issue: a line for each check, then packages and the log in folded blocks. In English."""
        found = self.to_dict()
        lines = ["### Hearth diagnostics", ""]
        for check in found["checks"]:
            values = ", ".join(f"{name}: {value}" for name, value in check["values"].items())
            lines.append(
                f"- {_MARK[check['status']]} **{check['id']}** {check['case']}{f' ({values})' if values else ''}"
            )
        if found["self_test"]:
            lines += ["", "**Self-test** " + json.dumps(found["self_test"], ensure_ascii=False)]
        names = "\n".join(f"{name} {version or '-'}" for name, version in found["packages"].items())
        lines += ["", *_folded("Packages", names), "", *_folded("Log", "\n".join(found["log"]))]
        return "\n".join(lines) + "\n"


def _folded(title: str, text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [f"<details><summary>{title}</summary>", "", fence, text, fence, "", "</details>"]


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, (list, tuple)) else value
