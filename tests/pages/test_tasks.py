"""The Tasks page as a script: each form from its example to its answer, and what is turned without another run."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from llm.jobs import jobs
from llm.runtime import handles
from llm.tasks import files, media
from tests.tasks.given import give_network

PAGE = str(Path(__file__).parents[2] / "pages" / "tasks.py")
EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@pytest.fixture
def open_job(data_folder: Path) -> Iterator[Callable[..., AppTest]]:
    """`open_job("image-classification", "efficientnet-lite0")`: the form with these models there."""

    def open_it(job: str, *models: str) -> AppTest:
        for model_id in models:
            give_network(data_folder, model_id)
        page = AppTest.from_file(PAGE, default_timeout=60)
        page.query_params["job"] = job
        return page.run()

    yield open_it
    handles.registry().close_all()


def run_example(page: AppTest, job: str, name: str) -> AppTest:
    page.button_group(key=f"task_example_{job}").set_value(name).run()
    page.button(key=f"task_run_{job}").click().run()
    assert not page.exception and not page.error
    return page


def drawn(page: AppTest) -> str:
    """All HTML of the page but its style."""
    return "".join(element.proto.body for element in page.get("html") if "<style>\n" not in element.proto.body)


def bar_names(page: AppTest) -> list[str]:
    return re.findall(r'class="name[^"]*">([^<]*)<', drawn(page))


def test_the_cards_lead_to_forms_and_other_pages(open_page: Callable[[str], AppTest]) -> None:
    page = open_page("tasks")
    assert not page.exception
    page.button(key="task_open_object-detection").click().run()
    assert page.title[0].value == "Where things are"
    page.button(key="task_back").click().run()
    assert page.title[0].value == "Tasks"


def test_without_a_model_the_form_offers_one_and_runs_nothing(open_job: Callable[..., AppTest]) -> None:
    page = open_job("image-segmentation")
    assert page.button(key="get_u2netp") and page.button(key="task_run_image-segmentation").disabled


def test_things_are_named_and_more_of_them_without_another_run(
    open_job: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = run_example(open_job("image-classification", "efficientnet-lite0"), "image-classification", "cat")
    assert len(bar_names(page)) == 5 and "tiger cat" in bar_names(page)
    monkeypatch.setattr(media.handles, "task_model", lambda *_: pytest.fail("the model ran again"))
    page.slider(key="image-classification_classes_top_k").set_value(9).run()
    assert len(bar_names(page)) == 9
    assert any("not how often it is right" in caption.value for caption in page.caption)


def test_another_example_takes_the_old_answer_away(open_job: Callable[..., AppTest]) -> None:
    page = run_example(open_job("image-classification", "efficientnet-lite0"), "image-classification", "cat")
    page.button_group(key="task_example_image-classification").set_value("coffee").run()
    assert not bar_names(page)


def test_boxes_below_the_threshold_and_of_other_labels_are_not_drawn(open_job: Callable[..., AppTest]) -> None:
    page = run_example(open_job("object-detection", "picodet-layout-cdla"), "object-detection", "page")
    assert sorted(set(re.findall(r'class="box b\d+', drawn(page)))) == [f'class="box b{at}' for at in range(5)]
    page.button_group(key="object-detection_labels").set_value(["table"]).run()
    assert len(re.findall(r'class="box b', drawn(page))) == 1 and "table" in drawn(page)
    page.slider(key="object-detection_shown_threshold").set_value(0.95).run()
    page.button_group(key="object-detection_labels").set_value(["title"]).run()
    assert not re.findall(r'class="box b', drawn(page)) and "above the threshold" in page.info[0].value


def test_masks_are_over_the_picture_or_cut_out(open_job: Callable[..., AppTest]) -> None:
    page = run_example(open_job("image-segmentation", "u2netp"), "image-segmentation", "cat")
    assert re.search(r"foreground 6\d\.\d %", drawn(page))
    page.button_group(key="image-segmentation_view").set_value("cutout").run()
    assert not page.exception and "foreground" not in drawn(page)


def test_a_recording_has_a_time_line(open_job: Callable[..., AppTest]) -> None:
    page = run_example(open_job("audio-classification", "silero-vad-v6"), "audio-classification", "voice")
    assert "task-line" in drawn(page) and bar_names(page)[-2:] == ["speech", "no speech"]


def test_two_models_answer_beside_each_other(open_job: Callable[..., AppTest]) -> None:
    page = open_job("image-classification", "efficientnet-lite0", "page-orientation")
    run_example(page, "image-classification", "page")
    page.button(key="task_compare_image-classification").click().run()
    assert not page.exception and "upright" in bar_names(page)
    assert sum(text.value.startswith("**") for text in page.markdown) >= 2


def test_many_files_are_a_job_whose_failures_are_rows(open_job: Callable[..., AppTest]) -> None:
    page = open_job("object-detection", "picodet-layout-cdla")
    given = [("page.png", (EXAMPLES / "page-en.png").read_bytes()), ("b.png", b"no picture")]
    params = {"task": "object-detection", "model": "picodet-layout-cdla"}
    record = jobs().wait(jobs().start("tasks.files", "Pages", params, inputs=given).id, 60)
    assert record is not None and record.state == "done"
    page.run()
    shown = page.dataframe[0].value
    assert "table 9" in shown["Result"][0] and "not a picture" in shown["Problem"][1]
    rows = record.result["rows"]
    coco = json.loads(files.rows_as_coco(rows))
    assert coco["images"] == [{"id": 1, "file_name": "page.png", "width": 700, "height": 900}]
    left, top, width, height = next(
        a["bbox"] for a in coco["annotations"] if coco["categories"][a["category_id"] - 1]["name"] == "table"
    )
    assert (left, top, left + width, top + height) == pytest.approx((65, 351, 639, 551), abs=6)
    lines = files.rows_as_csv(rows).decode("utf-8-sig").splitlines()
    assert lines[0].startswith("file,label,score") and "b.png" in lines[-1]


def test_masks_of_many_pictures_are_kept_at_their_size(open_job: Callable[..., AppTest]) -> None:
    open_job("image-segmentation", "u2netp")
    given = [("../cat.jpg", (EXAMPLES / "cat.jpg").read_bytes())]
    params = {"task": "image-segmentation", "model": "u2netp"}
    record = jobs().wait(jobs().start("tasks.files", "Cats", params, inputs=given).id, 60)
    assert record is not None
    packed = files.masks_as_zip(record.result["rows"], jobs().folder_of(record.id))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["0001-cat-foreground.png", "0001-cat-background.png"]
        mask = Image.open(archive.open("0001-cat-foreground.png"))
    assert mask.size == (451, 300) and mask.mode == "1"
