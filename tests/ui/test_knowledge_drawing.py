"""What the Knowledge page draws: everything escaped, marks whole, words within them."""

from __future__ import annotations

import numpy as np

from ui.knowledge.drawing import answer_html, passage_html
from ui.knowledge.map import plane


def test_a_marked_sentence_stays_one_and_nothing_of_a_document_is_html() -> None:
    drawn = passage_html("保修期为两年。<img src=x onerror=alert(1)>", "<b>", [(0, 7)], ["保修"])
    assert '<mark><span class="word">保修</span>期为两年。</mark>&lt;img' in drawn
    assert "<img" not in drawn and "<b>" not in drawn
    assert "<script" not in answer_html([("<script>x</script> ", "partly", [1])])


def test_the_plane_keeps_what_differs_most() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 16)).astype(np.float32) * np.array([9, 5, *[0.1] * 14], np.float32)
    points, share, mean, directions = plane(vectors)
    assert share > 0.98 and points.shape == (200, 2)
    np.testing.assert_allclose(directions @ (vectors[0] - mean), points[0], rtol=1e-4)
    assert points[:, 0].std() > points[:, 1].std() > 3
