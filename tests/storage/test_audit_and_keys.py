"""The audit log's chain, and keys that are stored as fingerprints only."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from stored_models import at_once

from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, keys
from acclimate.storage.registry.keys import Key


def write(database: Database, number: int) -> None:
    with database.write() as connection:
        audit_log.write(
            connection,
            actor="anna",
            action="run.start",
            target="gas",
            content={"run": f"r-{number}", "share": 0.1 + number},
        )


def first_broken(database: Database) -> int | None:
    with database.read() as connection:
        return audit_log.verify(connection).broken


def test_an_untouched_log_is_whole_and_in_order(database):
    assert first_broken(database) is None
    for number in range(5):
        write(database, number)
    assert first_broken(database) is None
    with database.read() as connection:
        entries = audit_log.page(connection, after=1, size=3)
    assert [entry["sequence"] for entry in entries] == [2, 3, 4]
    assert [entry["content"]["run"] for entry in entries] == ["r-1", "r-2", "r-3"]
    assert entries[0]["at"] <= entries[1]["at"] <= entries[2]["at"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE audit SET actor = 'somebody' WHERE sequence = 3", 3),
        ("UPDATE audit SET at = at - 1 WHERE sequence = 1", 1),
        ("UPDATE audit SET content = '{}' WHERE sequence = 5", 5),
        ("UPDATE audit SET hash = previous_hash WHERE sequence = 2", 2),
        ("DELETE FROM audit WHERE sequence = 2", 3),
        ("DELETE FROM audit WHERE sequence = 1", 2),
    ],
)
def test_a_log_changed_by_hand_names_the_first_entry_that_does_not_follow(database, change, named):
    for number in range(5):
        write(database, number)
    with database.write() as connection:
        assert connection.execute(text(change)).rowcount == 1
    assert first_broken(database) == named


@pytest.mark.parametrize("change", ["DELETE FROM audit WHERE sequence > 3", "DELETE FROM audit"])
def test_a_head_kept_elsewhere_reveals_a_truncated_or_rewritten_chain(database, change):
    for number in range(5):
        write(database, number)
    with database.read() as connection:
        kept = audit_log.verify(connection)
    assert (kept.entries, kept.broken, kept.seen) == (5, None, True)
    write(database, 5)
    with database.read() as connection:
        found = audit_log.verify(connection, expect=kept.head)
    assert (found.entries, found.broken, found.seen, found.head != kept.head) == (
        6,
        None,
        True,
        True,
    )
    with database.write() as connection:
        connection.execute(text(change))
    for number in range(9):
        write(database, number)
    with database.read() as connection:
        found = audit_log.verify(connection, expect=kept.head)
    assert (found.broken, found.seen) == (None, False)


def test_writers_at_once_keep_the_chain_whole(database):
    def note(number):
        return lambda connection: audit_log.write(
            connection, actor="a", action="b", target="c", content={"number": number}
        )

    found = at_once(database, [note(number) for number in range(8)])
    assert found == [None] * 8
    assert first_broken(database) is None
    with database.read() as connection:
        entries = audit_log.page(connection)
    assert [entry["sequence"] for entry in entries] == list(range(1, 9))
    assert sorted(entry["content"]["number"] for entry in entries) == list(range(8))


def test_a_deed_that_is_undone_leaves_no_entry(database):
    def fail(connection):
        audit_log.write(connection, actor="anna", action="key.create", target="x")
        raise ZeroDivisionError

    assert [type(result) for result in at_once(database, [fail])] == [ZeroDivisionError]
    write(database, 0)
    with database.read() as connection:
        assert [entry["action"] for entry in audit_log.page(connection)] == ["run.start"]
    assert first_broken(database) is None


def test_a_key_is_found_by_the_fingerprint_of_its_secret_which_is_stored_nowhere(database):
    with database.write() as connection:
        key, secret = keys.create(connection, name="sensor", scopes=["predict", "feedback"])
    with database.read() as connection:
        found = keys.find(connection, keys.fingerprint(secret))
        assert found == key and (found.name, found.scopes) == ("sensor", {"predict", "feedback"})
        assert keys.find(connection, keys.fingerprint(secret + "x")) is None
        assert keys.find(connection, secret) is None
        stored = connection.execute(text("SELECT * FROM keys")).one()
        assert secret not in map(str, stored) and len(secret) > 40
        assert "hash" not in keys.list_all(connection)[0]


def test_secrets_differ(database):
    with database.write() as connection:
        secrets = {keys.create(connection, name="same", scopes=["view"])[1] for _ in range(20)}
        assert len(keys.list_all(connection)) == 20
    assert len(secrets) == 20


def test_a_revoked_key_is_found_no_more_and_can_be_revoked_once(database):
    with database.write() as connection:
        key, secret = keys.create(connection, name="gone", scopes=["view"])
        _, other = keys.create(connection, name="stays", scopes=["view"])
        assert keys.revoke(connection, key.id)
        assert not keys.revoke(connection, key.id)
        assert not keys.revoke(connection, "nobody")
        assert keys.find(connection, keys.fingerprint(secret)) is None
        assert keys.find(connection, keys.fingerprint(other)) is not None
        assert [row["revoked_at"] is None for row in keys.list_all(connection)] == [False, True]


@pytest.mark.parametrize(
    ("own", "may"),
    [
        ("predict", {"predict"}),
        ("feedback", {"feedback"}),
        ("view", {"view"}),
        ("operate", {"operate", "view"}),
        ("admin", set(keys.SCOPES)),
    ],
)
def test_a_scope_allows_what_it_implies_and_nothing_else(own, may):
    key = Key(id="1", name="k", scopes=frozenset({own}))
    assert {scope for scope in keys.SCOPES if key.allows(scope)} == may


def test_a_key_of_a_scope_that_nobody_knows_may_nothing():
    key = Key(id="1", name="k", scopes=frozenset({"root", ""}))
    assert not any(key.allows(scope) for scope in keys.SCOPES)
