"""Files under keys, on a disk and in another file system."""

import uuid

import pytest

from acclimate.storage.store import Store, StoreError, StoreMissing


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    url = (
        f"file://{tmp_path}/store"
        if request.param == "file"
        else f"memory://{uuid.uuid4().hex}/store"
    )
    return Store(url, tmp_path / "cache")


@pytest.fixture
def local(tmp_path):
    path = tmp_path / "local"
    path.write_bytes(b"content")
    return path


def test_a_file_that_was_put_can_be_read_under_its_key_and_stays_where_it_was(store, local):
    store.put_file(local, "a/b/c.bin")
    assert store.local("a/b/c.bin").read_bytes() == b"content"
    assert store.exists("a/b/c.bin")
    assert store.size("a/b/c.bin") == 7
    assert local.read_bytes() == b"content"


def test_bytes_that_were_put_can_be_read_under_their_key(store):
    store.put_bytes(b"", "a/empty")
    store.put_bytes(b"new", "a/b")
    assert (store.local("a/empty").read_bytes(), store.local("a/b").read_bytes()) == (b"", b"new")


def test_a_later_change_of_the_local_file_does_not_reach_the_store(store, local):
    store.put_file(local, "a")
    with local.open("r+b") as file:
        file.write(b"CHANGED")
    assert store.local("a").read_bytes() == b"content"


def test_an_immutable_file_shares_its_blocks_with_a_store_on_the_same_disk(tmp_path, local):
    store = Store(f"file://{tmp_path}/store", tmp_path / "cache")
    store.put_file(local, "a", immutable=True)
    store.put_file(local, "a", immutable=True)
    assert store.local("a").stat().st_ino == local.stat().st_ino
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_putting_again_replaces_the_whole_file(store, local):
    store.put_bytes(b"something longer than the next", "a")
    store.put_file(local, "a")
    store.evict("a")
    assert store.local("a").read_bytes() == b"content"
    assert store.size("a") == 7


def test_a_key_that_holds_nothing_is_missing_by_name(store):
    assert not store.exists("a/b")
    with pytest.raises(StoreMissing, match="a/b is not in"):
        store.local("a/b")
    with pytest.raises(StoreMissing, match="a/b is not in"):
        store.size("a/b")


def test_a_deleted_file_is_gone_and_deleting_it_again_is_fine(store, local):
    store.put_file(local, "a/b")
    store.local("a/b")
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    with pytest.raises(StoreMissing):
        store.local("a/b")


def test_the_list_of_a_folder_holds_every_key_below_it_and_no_neighbour(store):
    for key in ("segments/gas/2", "segments/gas/1", "segments/gas-2/1", "artifacts/x"):
        store.put_bytes(b"", key)
    assert (
        store.list("segments/gas")
        == store.list("segments/gas/")
        == ["segments/gas/1", "segments/gas/2"]
    )
    assert store.list() == ["artifacts/x", "segments/gas-2/1", "segments/gas/1", "segments/gas/2"]
    assert store.list("nothing/here") == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        ".hidden",
        "a\\b",
        "a b",
        "a\n",
        "file://x",
        "é",
        "a\x00",
    ],
)
@pytest.mark.parametrize(
    "verb", ["put_bytes", "put_file", "local", "exists", "size", "delete", "evict"]
)
def test_a_key_that_could_leave_the_store_is_refused_by_every_verb(store, local, verb, key):
    arguments = {"put_bytes": (b"x", key), "put_file": (local, key)}.get(verb, (key,))
    with pytest.raises(StoreError, match="is not a key"):
        getattr(store, verb)(*arguments)


def test_a_prefix_that_could_leave_the_store_is_refused(store):
    with pytest.raises(StoreError, match="is not a key"):
        store.list("../")


def test_a_link_that_leads_out_of_the_store_is_not_followed(tmp_path, local):
    store = Store(f"file://{tmp_path}/store", tmp_path / "cache")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(local)
    (tmp_path / "store" / "folder").symlink_to(tmp_path)
    for key in ("link", "folder/local"):
        with pytest.raises(StoreError, match="leads out of the store"):
            store.local(key)
    with pytest.raises(StoreError, match="leads out of the store"):
        store.put_bytes(b"x", "folder/new")


@pytest.mark.parametrize("url", ["/var/lib", "store", "file://relative/path", "nosuch://x", ""])
def test_an_address_that_is_none_is_refused_with_what_would_be_right(tmp_path, url):
    with pytest.raises(StoreError, match=r"file:///|cannot be opened"):
        Store(url, tmp_path)


def test_a_failed_write_leaves_neither_a_file_nor_a_temporary_one(tmp_path):
    store = Store(f"file://{tmp_path}/store", tmp_path / "cache")
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "not there", "a/b")
    assert not store.exists("a/b")
    assert not any((tmp_path / "store" / "a").iterdir())


def test_a_remote_file_is_fetched_once_and_again_after_it_was_evicted(tmp_path):
    store = Store(f"memory://{uuid.uuid4().hex}", tmp_path / "cache")
    store.put_bytes(b"first", "a/b")
    path = store.local("a/b")
    path.write_bytes(b"damaged")
    assert store.local("a/b").read_bytes() == b"damaged"
    store.evict("a/b")
    assert store.local("a/b").read_bytes() == b"first"
    assert [left.name for left in path.parent.iterdir()] == ["b"]


def test_two_stores_at_one_address_see_the_same_files(tmp_path):
    url = f"memory://{uuid.uuid4().hex}"
    Store(url, tmp_path / "one").put_bytes(b"x", "a")
    assert Store(url, tmp_path / "two").local("a").read_bytes() == b"x"
