"""Formulas, money and code in answers, and where a growing answer may be cut."""

import pytest

from ui.shared.markdown import as_markdown, settled_length


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"so \(a+b\) is", "so $a+b$ is"),
        ("\\[\nx^2\n\\]", "$$\nx^2\n$$"),
        (r"  \[ x \]", "  $$\n  x\n  $$"),
        ("$$ x $$", "$$\nx\n$$"),
        (r"then \[x\].", "then $$x$$."),
        ("between $5 and $10 a day", r"between \$5 and \$10 a day"),
        ("let $x$ and $y$", "let $x$ and $y$"),
        (r"already \$5", r"already \$5"),
        ("`$5 and \\(x\\)` $a$", "`$5 and \\(x\\)` $a$"),
        ("```sh\necho $HOME $1\n```\n$5", "```sh\necho $HOME $1\n```\n\\$5"),
        ("```sh\necho $HOME", "```sh\necho $HOME"),
        ("~~~\n\\(x\\)\n~~~", "~~~\n\\(x\\)\n~~~"),
        ("so\n$$\n\\frac{a", "so\n```latex\n$$\n\\frac{a\n```"),
        ("so\n\\[ a_1", "so\n```latex\n\\[ a_1\n```"),
    ],
)
def test_shown(text, shown):
    assert as_markdown(text) == shown


@pytest.mark.parametrize(
    ("settled", "growing"),
    [
        ("", "one line"),
        ("", "one paragraph\n\n"),
        ("one paragraph\n\n", "two"),
        ("one\n\ntwo\n\n", "three"),
        ("", "- item\n\n  its second paragraph"),
        ("a\n\n", "```py\nx = 1\n\ny = 2\n\nz"),
        ("```py\nx\n\ny\n```\n\n", "after"),
        ("````md\n```\n\nx\n\n```\n````\n\n", "after"),
        ("a\n\n", "$$\nx\n\ny"),
        ("a\n\n", "\\[\nx\n\ny"),
        ("$$\nx\n$$\n\n", "after"),
        ("$$x$$\n\n", "after"),
        ("", "| a | b |\n|---|---|\n| 1 | 2 |\n"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\n", "after"),
    ],
)
def test_settled(settled, growing):
    assert settled_length(settled + growing) == len(settled)


def test_long_list_is_cut_between_items():
    items = [f"- item {number} with some words\n" for number in range(100)]
    assert settled_length("".join(items)) == len("".join(items[:-1]))
    assert settled_length("".join(items[:10])) == 0


def test_settled_text_never_changes_while_a_text_grows():
    text = "# T\n\nWords $x$.\n\n```py\na = 1\n\nb = 2\n```\n\n1. one\n\n   more\n2. two\n\n$$\nx\n$$\n\nEnd."
    cuts = {settled_length(text[:length]) for length in range(len(text) + 1)}
    whole = "".join(as_markdown(text[a:b]) for a, b in zip(sorted(cuts), [*sorted(cuts)[1:], len(text)], strict=True))
    assert whole == as_markdown(text)
