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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nums:List[int], host:port[1]", r"nums\:List[int], host\:port[1]"),
        (":material/home: :smile: ::note", r"\:material/home: \:smile: \:\:note"),
        ("https://a.example:80/x~y:z is 12:30", "https://a.example:80/x~y:z is 12:30"),
        ("3~5天，100~200元 and ~~gone~~", r"3\~5天，100\~200元 and ~~gone~~"),
        ("**注意：**请先备份", "**注意**：请先备份"),
        ("含**「重点」**内容", "含「**重点**」内容"),
        ("**bold** and **both**s", "**bold** and **both**s"),
        ("PATH=$HOME/bin:$PATH or $HOME/$USER", r"PATH=\$HOME/bin:\$PATH or \$HOME/\$USER"),
        ("$5/month, or $50/year; A$x more", r"\$5/month, or \$50/year; A\$x more"),
        ("公式$x$的", "公式$x$的"),
        ("text\n\n    echo $HOME ~x~\n\nmore", "text\n\n    echo $HOME ~x~\n\nmore"),
        ("> \\[\n> x^2\n> \\]", "> $$\n> x^2\n> $$"),
        ("| a | \\(|x|\\) |", "| a | ${\\vert}x{\\vert}$ |"),
        ("\\begin{align}\na &= b \\\\\n\\end{align}", "$$\n\\begin{align}\na &= b \\\\\n\\end{align}\n$$"),
        ("H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>", "H₂O, x², `Ctrl`"),
        ("a poem\nin two lines\n\nand more", "a poem  \nin two lines\n\nand more"),
        ("| a<br>b |", "| a b |"),
        ("![a cat](https://evil.example/?q=words)", "[a cat](https://evil.example/?q=words)"),
        ("![](https://evil.example/p.png)", r"[https\://evil\.example/p\.png](https://evil.example/p.png)"),
        (
            "![x][r] [![y](https://e.example/y)](https://e.example)",
            "[x][r] [[y](https://e.example/y)](https://e.example)",
        ),
        ("`![code](x) a:b ~c~`", "`![code](x) a:b ~c~`"),
    ],
)
def test_what_a_model_wrote_is_what_is_read(text, shown):
    assert as_markdown(text) == shown


UNITS = [
    "\\( ",
    "$ ",
    "$x",
    "``` ",
    "\\[ ",
    "](",
    "![",
    "**a ",
    "~",
    "\\begin{align} ",
    "<sub>",
    "> ",
    "| $|",
    "`a ",
    "- $$\n",
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_of_four_times_the_length_takes_about_four_times_as_long(unit):
    """Counted in what Python does, not in seconds: a redraw must not grow with the square of the answer."""
    import sys

    def lines_run(count):
        seen = 0

        def trace(frame, event, arg):
            nonlocal seen
            seen += 1
            return trace

        sys.settrace(trace)
        try:
            as_markdown(unit * count)
        finally:
            sys.settrace(None)
        return seen

    as_markdown(unit)
    assert lines_run(800) < 6 * lines_run(200) + 2000
