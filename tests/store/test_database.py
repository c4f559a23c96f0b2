"""Migrations, settings of the engine, attachments, presets, transcripts."""

import io
from datetime import timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from llm.config import config
from llm.errors import MissingPackage, NewerDatabase, NotFound
from llm.messages import ImagePart, user
from llm.store import store
from llm.store.database import _MIGRATIONS, HEAD, Database, attachments, metadata, open_database, utc_now


def test_migrations_end_where_the_tables_are(kept):
    assert ScriptDirectory(str(_MIGRATIONS)).get_current_head() == HEAD
    ours = set(metadata.tables)
    with kept.db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": lambda item, name, kind, *_: kind != "table" or name in ours}
        )
        assert compare_metadata(context, metadata) == []


def test_sqlite_is_set_up(kept):
    if kept.db.engine.dialect.name != "sqlite":
        pytest.skip("SQLite's own settings")
    with kept.db.read() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys")]
        assert pragmas == ["wal", 1]
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 15000
    assert kept.db.has_fts


def test_one_database_per_url(kept):
    assert store().db is kept.db is store("ann").db


def test_a_newer_database_is_refused(kept):
    with kept.db.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabase):
        Database(config().database, config().attachments_dir)


def test_a_missing_driver_is_named(tmp_path):
    with pytest.raises(MissingPackage) as caught:
        Database("oracle+oracledb://x", tmp_path)
    assert caught.value.values["package"] == "oracledb"


def test_a_failed_write_leaves_nothing(kept):
    with pytest.raises(RuntimeError), kept.db.write() as connection:
        connection.execute(sa.delete(attachments))
        kept.attachments.keep(connection, b"half")
        raise RuntimeError
    with kept.db.read() as connection:
        assert connection.execute(sa.select(attachments)).all() == []


def test_bytes_are_kept_once_and_freed_when_nobody_refers_to_them(kept, home):
    one, two = kept.create_conversation(), kept.create_conversation()
    for made in (one, two):
        kept.add(made.id, user(ImagePart(b"the same picture")))
    files = [file for file in (home / "attachments").rglob("*") if file.is_file()]
    assert len(files) == 1 and files[0].read_bytes() == b"the same picture"
    sha256 = files[0].name
    assert kept.attachments.put(b"the same picture") == kept.attachments.put(io.BytesIO(b"the same picture")) == sha256
    fresh = kept.attachments.put(b"just put, not yet referred to")
    with kept.db.write() as connection:
        old = utc_now() - timedelta(days=1)
        connection.execute(sa.update(attachments).where(attachments.c.sha256 == sha256).values(touched_at=old))
    kept.delete(one.id)
    assert kept.purge(timedelta(0)).attachments == 0
    kept.delete(two.id)
    assert kept.purge(timedelta(0)).attachments == 1
    assert kept.attachments.read(fresh) == b"just put, not yet referred to"
    with pytest.raises(NotFound):
        kept.attachments.read(sha256)
    assert not list((home / "attachments").glob("writing-*"))


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 64, "A" * 64, "x" * 64])
def test_only_hashes_name_attachments(kept, name):
    with pytest.raises(NotFound):
        kept.attachments.path(name)


def test_a_lost_file_does_not_lose_the_conversation(kept):
    made = kept.create_conversation()
    kept.add(made.id, user("look", ImagePart(b"picture")))
    for file in kept.db.attachments_dir.rglob("*"):
        if file.is_file():
            file.unlink()
    assert kept.path(made.id)[0].message == user("look", ImagePart(b""))
    assert kept.export_json([made.id])


def test_presets(kept):
    brief = kept.presets.save(" Brief ", "Be brief.")
    again = kept.presets.save("Brief", "Be very brief.")
    kept.presets.save("诗人", "用诗回答。")
    assert brief.id == again.id
    assert [(p.name, p.text) for p in kept.presets.list()] == [("Brief", "Be very brief."), ("诗人", "用诗回答。")]
    assert store("ann").presets.list() == []
    with pytest.raises(NotFound):
        store("ann").presets.delete(brief.id)
    gone = kept.presets.delete(brief.id)
    assert (gone.name, gone.text) == ("Brief", "Be very brief.")
    for name in ("", "  ", "x" * 201):
        with pytest.raises(ValueError, match="name"):
            kept.presets.save(name, "")


def test_transcripts_are_kept_listed_reopened_and_deleted_with_undo(kept):
    sound = kept.attachments.put(io.BytesIO(b"RIFF"))
    payload = {"segments": [{"start": 0.0, "end": 1.5, "text": " It was the best of times"}], "options": {"beam": 5}}
    made = kept.transcripts.create(
        "Two cities", payload, audio_sha256=sound, audio_name="a.wav", audio_type="audio/wav"
    )
    assert kept.transcripts.get(made.id) == made
    other = kept.transcripts.create("会议", {"segments": [{"text": "大家好"}]})
    assert [t.id for t in kept.transcripts.list().items] == [other.id, made.id]
    assert kept.transcripts.list().items[1].payload == {}
    assert [t.id for t in kept.transcripts.list("best times").items] == [made.id]
    assert [t.id for t in kept.transcripts.list("大家").items] == [other.id]
    kept.transcripts.update(made.id, title="A tale", payload={"segments": [{"text": "worst"}]})
    found = kept.transcripts.list("worst").items[0]
    assert (found.title, found.snippet.text, found.audio_sha256) == ("A tale", "worst", sound)
    assert kept.transcripts.list(limit=1).next is not None
    kept.transcripts.delete(made.id)
    assert [t.id for t in kept.transcripts.list().items] == [other.id]
    kept.transcripts.restore(made.id)
    kept.transcripts.delete(made.id)
    assert kept.purge(timedelta(0)).transcripts == 1
    with pytest.raises(NotFound):
        kept.transcripts.get(made.id)
    ann = store("ann")
    assert ann.transcripts.list().items == ()
    with pytest.raises(NotFound):
        ann.transcripts.update(other.id, title="mine")
    with pytest.raises(NotFound):
        kept.transcripts.create("x", {}, audio_sha256="0" * 64)


def test_the_connections_can_be_closed(home):
    database = open_database(config().database, config().attachments_dir, lambda db: None)
    database.close()
    assert store().list().items == ()


def test_an_older_database_learns_what_each_conversation_is(tmp_path):
    """Conversations with a picture, or answered by the reader of pictures' texts, are the Image page's."""
    from alembic import command
    from alembic.config import Config

    url = f"sqlite:///{tmp_path / 'old.db'}"
    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
        fresh = "'local', 't', 0, 1, 1"
        for name, model in (("plain", "gone"), ("seen", "gone-too"), ("read", "reader:gone")):
            connection.exec_driver_sql(
                "INSERT INTO conversations (id, owner, title, title_auto, created_at, updated_at, model, system_prompt,"
                f" settings) VALUES ('{name}', {fresh}, '{model}', '', '{{}}')"
            )
        for name, kind in (("plain", "text"), ("seen", "image")):
            connection.exec_driver_sql(
                "INSERT INTO messages (conversation_id, role, parts, meta, status, writer, created_at, updated_at) "
                f"VALUES ('{name}', 'user', '[{{\"type\":\"{kind}\"}}]', '{{}}', 'complete', '', 1, 1)"
            )
    engine.dispose()
    with Database(url, tmp_path).read() as connection:
        kinds = dict(connection.execute(sa.text("SELECT id, kind FROM conversations")).all())
    assert kinds == {"plain": "chat", "seen": "image", "read": "image"}


def test_preferences_are_each_owners(kept):
    kept.preferences.set("chat.model", "a")
    kept.preferences.set("chat.model", {"b": [1]})
    kept.preferences.set("gone", True)
    kept.preferences.set("gone", None)
    assert kept.preferences.all() == {"chat.model": {"b": [1]}} and store("ann").preferences.all() == {}
