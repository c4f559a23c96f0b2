"""Is this machine ready? Every check of the Diagnostics page, as data, and the same in a terminal."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from llm.diagnostics import machine as doctor_machine
from llm.diagnostics import software as doctor_software
from llm.diagnostics.checks import Check, Examiner
from llm.diagnostics.report import Report
from llm.paths import LOCALES


def examiners() -> list[Examiner]:
    """Every check, in the order in which to show them."""
    return [*doctor_software.examiners(), *doctor_machine.examiners()]


def run(slow: bool = True) -> list[Check]:
    """All findings; slow checks run at once beside each other. `slow` False leaves them out."""
    wanted = [examiner for examiner in examiners() if slow or not examiner.slow]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(Examiner.run, wanted))


def main(json: bool = False) -> int:
    """Prints the findings in the terminal's language. 1 when something required is broken, else 0."""
    begin = time.perf_counter()
    found = run()
    if json:
        print(Report(found).to_json())
    else:
        _print(found, terminal_language())
        print(f"({time.perf_counter() - begin:.1f} s)")
    return 1 if any(check.status == "fail" for check in found) else 0


def terminal_language() -> str:
    """`zh` where the terminal speaks Chinese, else `en`."""
    spoken = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return "zh" if spoken.lower().startswith("zh") else "en"


def sentences(language: str) -> dict[str, str]:
    """The Diagnostics page's words of a language."""
    return tomllib.loads((LOCALES / language / "diagnostics.toml").read_text(encoding="utf-8"))


def say(words: dict[str, str], check: Check) -> tuple[str, str, str]:
    """(what is checked, what was found, how to mend it or "") in the words of a language."""
    case = "unknown" if check.case == "unknown" else check.key
    mend = words.get(f"{case}_mend", "")
    return words[check.id], words[case].format(**check.values), mend.format(**check.values)


def _print(found: Iterable[Check], language: str) -> None:
    words = sentences(language)
    colour = {"ok": "\033[32m", "warn": "\033[33m", "fail": "\033[31m"} if sys.stdout.isatty() else {}
    for check in found:
        name, finding, mend = say(words, check)
        status = f"{words[f'status_{check.status}']:<6}"
        if colour:
            status = f"{colour[check.status]}{status}\033[0m"
        print(f"{status} {name}: {finding}")
        if mend:
            print(f"       -> {mend}")
