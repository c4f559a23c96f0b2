"""The Models page as a script: what it shows and what its buttons do, on real files and a real local index."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from llm.catalogue import lookup
from llm.config import config
from llm.engine import MemoryUse
from llm.jobs import JobRecord, jobs
from llm.plan import LoadPlan
from llm.runtime import handles
from llm.runtime.handles import HandleInfo
from llm.runtime.registry import HandleKey
from llm.sources import downloads, fetch
from tests.catalogue.test_gguf import TINY
from tests.catalogue.test_lookup import LLAMA, folder
from tests.conftest import STARTER
from tests.sources.conftest import home, hub, index  # noqa: F401
from tests.sources.hub_server import Hub
from tests.sources.index_server import Index
from tests.sources.test_hubs import model_at
from tests.sources.test_package_index import model_in

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "models.py")
pytestmark = pytest.mark.usefixtures("home")


def page(section: str = "catalogue", language: str = "en") -> AppTest:
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.session_state["app.language"] = language
    app.session_state["models.section"] = section
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception, [error.message for error in app.exception]
    return app


def shown(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.success, *app.error, *app.warning, *app.info, *app.subheader, *app.text]
    return "\n".join(str(part.value) for part in parts)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("section", ["catalogue", "here", "loaded", "add", "sources"])
def test_every_section_opens_in_both_languages_on_an_empty_machine(section: str, language: str) -> None:
    app = page(section, language)
    assert app.title[0].value == ("Models" if language == "en" else "模型")


def test_one_model_loaded_in_two_ways_stands_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = lookup.find(STARTER)
    plans = [LoadPlan("cpu", "file", context) for context in (512, 1024)]
    keys = [HandleKey("/m.gguf", context_tokens=plan.context_tokens) for plan in plans]
    rows = [
        HandleInfo(key, None, entry, plan, MemoryUse({"cpu": 10**8}), 0, 0.0)  # type: ignore[arg-type]
        for key, plan in zip(keys, plans, strict=True)
    ]
    monkeypatch.setattr(handles, "loaded", lambda: rows)
    app = page("loaded")
    assert [button.key for button in app.button if (button.key or "").startswith("unload_")] == [
        f"unload_{key}" for key in keys
    ]


def test_the_table_tells_what_fits_and_can_be_filtered() -> None:
    app = page()
    table = app.dataframe[0].value
    assert len(table) == len(lookup.entries())
    row = table[table["name"] == "Qwen2.5 7B Instruct"]
    assert row["need_16"].item() > 15e9 > row["need_4"].item() > 4e9
    small = table[table["name"] == "SmolLM2 135M Instruct (Q4_1)"]
    assert small["fit"].item() == "fits" and not small["is_here"].item()
    checked(app.text_input(key="models.words").set_value("chatglm").run())
    assert set(app.dataframe[0].value["name"]) == {"ChatGLM3 6B", "ChatGLM2 6B", "ChatGLM 6B"}
    checked(app.text_input(key="models.words").set_value("nothing like this").run())
    assert "No model matches" in shown(app)
    checked(app.text_input(key="models.words").set_value("").run())
    checked(app.multiselect(key="models.licences").set_value(["mit"]).run())
    assert set(app.dataframe[0].value["licence"]) == {"mit"}
    checked(app.multiselect(key="models.licences").set_value([]).run())
    checked(app.slider(key="models.largest").set_value(1).run())
    assert 0 < app.dataframe[0].value["size"].max() <= 1e9
    checked(app.toggle(key="models.only_here").set_value(True).run())
    assert "No model matches" in shown(app)


def wait(model_id: str, timeout_s: float) -> JobRecord | None:
    job = downloads.get(model_id)
    assert job
    return jobs().wait(job.id, timeout_s)


def labelled(app: AppTest, label: str) -> Any:
    (button,) = (button for button in app.button if button.label == label)
    return button


def test_a_model_is_fetched_and_then_there(index: Index) -> None:  # noqa: F811
    entry = model_in(index)
    lookup.add(entry)
    index.bytes_s = 400_000
    app = page()
    checked(app.selectbox(key="models.chosen").set_value(entry.id).run())
    assert "Package index" in shown(app)
    checked(app.button(key="get").click().run())
    checked(labelled(app, "Pause").click().run())
    wait(entry.id, 20)
    checked(app.run())
    assert f"**{entry.name}** · Paused" in shown(app)
    index.bytes_s = 0
    checked(labelled(app, "Resume").click().run())
    wait(entry.id, 60)
    checked(app.run())
    assert lookup.where(entry) and "On this machine" in shown(app)


def test_a_failed_download_says_why_and_can_be_discarded(index: Index) -> None:  # noqa: F811
    entry = model_in(index, parts=1)
    index.wheels.clear()
    lookup.add(entry)
    downloads.start(entry.id)
    wait(entry.id, 60)
    app = page()
    assert "part-0==1.0" in app.error[0].value
    checked(labelled(app, "Discard").click().run())
    assert not app.error


def test_files_are_verified_and_deleted(index: Index) -> None:  # noqa: F811
    entry = model_in(index)
    lookup.add(entry)
    path = fetch(entry)
    app = page("here")
    assert "Fetched by Hearth" in shown(app) and "900 KB" in shown(app)

    def verify() -> None:
        checked(app.button(key=f"verify_{entry.id}_0").click().run())
        for job in jobs().all(kind="models.verify"):
            jobs().wait(job.id, 60)
        checked(app.run())

    verify()
    assert "Every byte is as published" in shown(app)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    verify()
    assert "damaged" in app.error[0].value
    checked(app.button(key=f"delete_yes_{entry.id}_0").click().run())
    assert "900 KB were freed" in shown(app) and not path.parent.exists()
    assert "No model is on this machine yet" in shown(app)


def look_at(app: AppTest, text: str, kind: str = "path") -> AppTest:
    app.text_input(key="models.add_what").set_value(text)
    app.session_state["models.add_kind"] = kind
    (check,) = (button for button in app.button if button.label == "Look at it")
    return checked(check.click().run())


def test_own_files_are_looked_at_then_added(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(TINY)
    app = look_at(page("add"), str(file))
    assert "**tiny**" in shown(app) and "llama.cpp" in shown(app)
    checked(app.button(key="add").click().run())
    assert "tiny was added" in shown(app)
    assert lookup.find(str(file)).own
    here = page("here")
    assert "Your own files" in shown(here)
    checked(here.button(key=f"delete_yes_{file}_0").click().run())
    assert file.exists() and not lookup.own_entries()


def test_what_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    app = page("add")
    assert "There is nothing at" in look_at(app, str(tmp_path / "nowhere")).error[0].value
    (tmp_path / "cut.gguf").write_bytes(TINY[:100])
    assert "cannot be read as a model" in look_at(app, str(tmp_path / "cut.gguf")).error[0].value
    own_code = {**LLAMA, "model_type": "homemade", "architectures": ["HomemadeForCausalLM"]}
    folder(tmp_path / "homemade", own_code)
    assert "homemade" in look_at(app, str(tmp_path / "homemade")).error[0].value
    assert not any(button.key == "add" for button in app.button)
    assert "Type a path" in shown(look_at(app, "   "))


@pytest.mark.parametrize("kind", ["huggingface", "modelscope"])
def test_a_hub_id_is_asked_of_the_hub_and_then_fetched(hub: Hub, kind: str) -> None:  # noqa: F811
    model_at(hub, kind)  # type: ignore[arg-type]
    hub.files["config.json"] = json.dumps(LLAMA).encode()
    app = look_at(page("add"), "people/model", kind)
    assert "**model**" in shown(app) and "3 MB" in shown(app)
    checked(app.button(key="add").click().run())
    job = wait("model", 60)
    assert job and job.state == "done" and lookup.where(lookup.find("model"))
    assert "could not be fetched" in look_at(app, "people/other", kind).error[0].value
    assert "owner/name" in look_at(app, "no-slash", kind).error[0].value


def test_sources_are_kept_and_the_token_is_not_shown_again(home: Path) -> None:  # noqa: F811
    app = page("sources")
    by_label = {field.label: field for field in app.text_input}
    by_label["Hugging Face address"].set_value("https://mirror.example")
    by_label["Hugging Face access token"].set_value("hf_secret")
    (save,) = (button for button in app.button if button.label == "Save")
    checked(save.click().run())
    assert config().hf_endpoint == "https://mirror.example" and config().hf_token == "hf_secret"
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    again = page("sources")
    assert all(field.value != "hf_secret" for field in again.text_input)
    by_label = {field.label: field for field in again.text_input}
    by_label["Hugging Face address"].set_value("not an address")
    (save,) = (button for button in again.button if button.label == "Save")
    assert "not an address" in checked(save.click().run()).error[0].value
    assert config().hf_token == "hf_secret"
