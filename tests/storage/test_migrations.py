"""Migrations make exactly the tables of the code, on both databases, and the first admin key."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from stored_models import new_model

from acclimate.storage import schema
from acclimate.storage.database import Database
from acclimate.storage.registry import keys, models
from acclimate.storage.tables import metadata
from migrations.run import upgrade

ROOT = Path(__file__).parents[2]


def migrate(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ACCLIMATE_DATABASE_URL": address}
    command = [sys.executable, "-m", "migrations.run", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def differences(database: Database) -> list:
    with database.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def test_migrations_make_the_tables_that_the_code_knows(database):
    assert differences(database) == []


def test_a_table_that_differs_would_be_noticed(database):
    with database.write() as connection:
        connection.execute(text("ALTER TABLE models ADD COLUMN planted TEXT"))
    assert [difference[0] for difference in differences(database)] == ["remove_column"]


def test_the_partial_indexes_are_partial_and_unique(database):
    with database.read() as connection:
        found = {
            index["name"]: index
            for table in ("runs", "windows")
            for index in inspect(connection).get_indexes(table)
        }
    for name in ("uq_runs_one_active", "uq_windows_one_open"):
        assert found[name]["unique"]
        assert any("state" in str(where) for where in found[name]["dialect_options"].values())


def test_migrating_again_changes_and_loses_nothing(database):
    model_id = new_model(database)
    upgrade(database)
    upgrade(database)
    assert differences(database) == []
    with database.read() as connection:
        assert models.named(connection, "gas")["id"] == model_id


def test_a_database_of_the_first_release_comes_up_with_all_it_holds(database):
    model_id = new_model(database)
    with database.write() as connection:
        for table in ("run_stages", "run_events", "idempotency_keys", "erasures", "periodic_tasks"):
            connection.execute(text(f"DROP TABLE {table}"))
        for table, column in (
            ("models", "weights_digest"),
            ("promotions", "watch"),
            ("promotions", "comparison"),
            ("versions", "proved_at"),
            ("versions", "proof"),
            ("runs", "serving"),
            ("labels", "wrong"),
            ("labels", "label_time"),
            ("versions", "expected"),
            ("versions", "deleted_at"),
            ("versions", "mode"),
            ("versions", "rehearsal"),
            ("versions", "lineage"),
            ("versions", "weights_digest"),
            ("windows", "estimate"),
            ("runs", "rows_taught"),
            ("runs", "pseudo_labels"),
            ("runs", "pseudo_labels_checked"),
            ("runs", "pseudo_labels_wrong"),
        ):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert differences(database) != []
    upgrade(database)
    assert differences(database) == []
    with database.read() as connection:
        assert models.named(connection, "gas")["id"] == model_id


def test_migrations_only_add_so_that_older_code_goes_on_with_a_newer_database():
    additions = {
        "create_table",
        "bulk_insert",
        "create_index",
        "batch_alter_table",
        "add_column",
        "f",
        # Of a check that allows more: the next test.
        "drop_constraint",
        "create_check_constraint",
    }
    for path in sorted((ROOT / "migrations" / "versions").glob("*.py")):
        for call in (
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ):
            if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) not in (
                "op",
                "batch_op",
            ):
                continue
            assert call.func.attr in additions, f"{path.name}:{call.lineno} does more than to add"
            if call.func.attr == "add_column":
                said = ast.unparse(call)
                assert "nullable=True" in said or "server_default=" in said, (
                    f"{path.name}: older code cannot insert"
                )


def test_a_check_that_a_migration_replaces_allows_all_that_it_allowed_before():
    allowed: dict[str, set[str]] = {}
    for path in sorted((ROOT / "migrations" / "versions").glob("*.py")):
        text_of = path.read_text()
        for name, constants in re.findall(
            r'"kind IN \(([^)]*)\)", name=op.f\("(ck_\w+)"\)', text_of
        ):
            allowed[constants] = set(re.findall(r"'(\w+)'", name))
        dropped = re.findall(r'drop_constraint\(op.f\("(ck_\w+)"\)', text_of)
        for name in dropped:
            assert f'create_check_constraint(op.f("{name}"), KINDS)' in text_of
            wider = set(re.findall(r"'(\w+)'", re.search(r'KINDS = "(.*)"', text_of)[1]))
            assert allowed[name] < wider, f"{path.name}: {name} no longer allows all"
            allowed[name] = wider
    assert allowed["ck_promotions_kind"] >= {"first", "promote", "rollback", "override", "switch"}


def test_a_database_of_a_newer_release_is_left_as_it_is(database):
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    done = migrate(database.address)
    assert "of a newer acclimate (revision 9999" in done.stderr and "Traceback" not in done.stderr
    with database.read() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            == "9999"
        )
        schema.require(connection)


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("TABLE erasures", "no table erasures"),
        ("COLUMN lineage", "table versions has no column lineage"),
    ],
)
def test_a_database_of_an_older_release_is_told_by_what_it_lacks(database, lost, told):
    with database.write() as connection:
        connection.execute(
            text(
                f"DROP {lost}" if lost.startswith("TABLE") else f"ALTER TABLE versions DROP {lost}"
            )
        )
    with pytest.raises(schema.Outdated, match=told), database.read() as connection:
        schema.require(connection)


def test_migrate_writes_a_working_admin_key_that_only_its_owner_reads(database_address, tmp_path):
    file = tmp_path / "new" / "admin.key"
    done = migrate(database_address, "--admin-key", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    assert secret not in done.stdout + done.stderr
    database = Database(database_address)
    with database.read() as connection:
        assert keys.find(connection, keys.fingerprint(secret)).allows("admin")
    migrate(database_address, "--admin-key", str(file))
    assert file.read_text().strip() == secret
    with database.write() as connection:
        assert len(keys.list_all(connection)) == 1
        assert keys.revoke(connection, keys.list_all(connection)[0]["id"])
    migrate(database_address, "--admin-key", str(file))
    fresh = file.read_text().strip()
    assert fresh != secret and file.stat().st_mode & 0o777 == 0o600
    with database.read() as connection:
        assert keys.find(connection, keys.fingerprint(fresh)).allows("admin")
    database.close()


def test_a_key_file_that_others_could_read_is_closed_to_them(database, tmp_path):
    file = tmp_path / "admin.key"
    file.write_text("not a key\n")
    file.chmod(0o644)
    migrate(database.address, "--admin-key", str(file))
    assert file.read_text().strip() != "not a key"
    assert file.stat().st_mode & 0o777 == 0o600
