"""The store of trainings on disk."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from comfyui_zoodip.node import store as store_module
from comfyui_zoodip.node import store_files
from comfyui_zoodip.node.curve import pack_curve, unpack_curve
from comfyui_zoodip.node.store import Record, Store, StoreError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

A, B, C = "a" * 64, "b" * 64, "0123456789abcdef" * 4
MB = 1 << 20
CURVE = [(1, 0.5, 0.5), (2, 0.1 + 0.2, None), (3, None, 0.25)]


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "zoodip", clock=clock)


def record(key: str = A, state: str = "finished", **fields) -> Record:
    return Record(key=key, word="sks", state=state, step=3, steps=9, curve=CURVE, **fields)


def put(store: Store, key: str, state: str = "finished", token: int = 8, unfinished: int = 0):
    """Saves a run whose files have these sizes."""
    store.folder(key)
    for path, size in [(store.token_path(key), token), (store.state_path(key), unfinished)]:
        if size:
            path.write_bytes(b"x" * size)
    store.save(record(key, state))


def leftovers(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.suffix == ".partial" or ".dropped" in p.name]


def test_looking_up_in_an_empty_store_makes_nothing(store):
    assert store.record(A) is store.finished(A) is store.unfinished(A) is store.preview(A) is None
    assert store.node_run("w", "1") is None
    assert store.stats() == {"runs": 0, "bytes": 0, "limit_mb": 256}
    assert not store.root.exists()


def test_a_finished_run_is_given_back_by_another_process(store):
    with store.hold(A):
        store.token_path(A).write_bytes(b"token")
        saved = record(
            message="it's \ud800 done",
            node="12:3",
            workflow="uuid",
            prompt="p",
            preview_percent=5.0,
            preview_step=2,
            validations=[(0, 1.5), (3, None)],
        )
        store.save(saved, preview=b"jpeg")
    other = Store(store.root)
    found = other.finished(A)
    assert replace(found, created=0, used=0) == saved
    assert found.losses == [0.5, 0.1 + 0.2]
    assert other.unfinished(A) is None
    assert other.preview(A) == b"jpeg"
    assert not leftovers(store.root)


def test_created_stays_and_used_moves(store, clock):
    put(store, A)
    first = store.record(A)
    assert 0 < first.created <= first.used <= clock.now
    store.save(record())
    assert store.record(A).created == first.created
    used = store.finished(A).used
    assert used > first.used
    assert store.record(A).used == used


@pytest.mark.parametrize("state", ["preparing", "training", "stopped", "interrupted", "failed"])
def test_a_run_with_a_state_file_is_gone_on_with(store, state):
    put(store, A, state, unfinished=4)
    assert store.unfinished(A).state == state
    assert store.finished(A) is None


def test_the_last_good_word_of_a_run_that_diverged_stays(store):
    put(store, A, "failed", token=8, unfinished=0)
    assert store.unfinished(A) is store.finished(A) is None
    assert store.token_path(A).is_file()
    assert store.record(A).state == "failed"


def engines_files(store: Store, key: str) -> list[Path]:
    """What the engine keeps beside token and state."""
    names = ("token.best", "token.state.500", "token.state.1000")
    return [store.folder(key) / f"{name}.safetensors" for name in names]


def test_all_of_the_engines_files_are_counted_dropped_and_cleared(store):
    put(store, A, "stopped", unfinished=8)
    before = store.stats()["bytes"]
    for file in engines_files(store, A):
        file.write_bytes(bytes(6 * MB))
    assert store.stats()["bytes"] == before + 18 * MB
    assert store.unfinished(A) is not None

    store.set_limit(16)
    assert store.stats() == {"runs": 0, "bytes": 0, "limit_mb": 16}

    put(store, B)
    engines_files(store, B)[0].write_bytes(b"best")
    assert store.finished(B) is not None
    store.clear()
    assert not (store.root / "runs" / B).exists()


def test_a_run_that_ended_before_its_first_step_is_only_shown(store):
    put(store, A, "interrupted", token=0)
    assert store.finished(A) is store.unfinished(A) is None
    assert store.record(A).state == "interrupted"


@pytest.mark.parametrize(
    ("state", "token", "unfinished"),
    [
        ("finished", 0, 0),
        ("finished", 0, 4),
        ("stopped", 8, 0),
        ("stopped", 0, 4),
        ("failed", 0, 4),
    ],
)
@pytest.mark.parametrize("ask", ["finished", "unfinished"])
def test_half_of_a_run_is_absent_and_removed(store, ask, state, token, unfinished):
    put(store, A, state, token, unfinished)
    assert getattr(store, ask)(A) is None
    assert not (store.root / "runs" / A).exists()
    assert store.stats()["runs"] == 0


def test_a_folder_without_run_json_is_removed(store):
    store.folder(A)
    store.state_path(A).write_bytes(b"state")
    assert store.record(A) is None
    assert store.state_path(A).exists()  # a look from the page removes nothing
    assert store.finished(A) is None
    assert not store.state_path(A).exists()


def test_leftovers_of_a_held_run_go_and_its_folder_stays(store):
    put(store, A, "stopped", unfinished=0)
    with store.hold(A) as folder:
        assert store.unfinished(A) is None
        assert list(folder.iterdir()) == []


def test_a_run_that_cannot_be_read_just_now_is_not_removed(store, monkeypatch):
    put(store, A)

    def fail(path):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read_json", fail)
        assert store.finished(A) is None
    assert store.finished(A)


@pytest.mark.parametrize("damage", [b"", b"ZOCURVE1", None])
def test_a_lost_curve_does_not_lose_the_word(store, damage):
    put(store, A)
    curve = store.root / "runs" / A / "curve.bin"
    if damage is None:
        whole = bytearray(curve.read_bytes())
        whole[-3] ^= 1
        damage = bytes(whole)
    curve.write_bytes(damage)
    found = store.finished(A)
    assert (found.curve, found.losses) == ([], [])


def test_a_preview_that_is_gone_is_not_told(store):
    put(store, A)
    store.save(record(preview_step=2), preview=b"jpeg")
    assert store.record(A).preview_step == 2
    (store.root / "runs" / A / "preview.jpg").unlink()
    assert store.record(A).preview_step is None
    assert store.preview(A) is None


VALID = json.dumps(store_module.pack_record(record(created=1.0)))
WRONG = [
    ("key", B),
    ("key", None),
    ("state", "dancing"),
    ("step", -1),
    ("step", 1.5),
    ("step", True),
    ("step", 1 << 70),
    ("steps", "9"),
    ("word", 7),
    ("message", None),
    ("created", math.nan),
    ("created", math.inf),
    ("preview_percent", None),
    ("preview_step", "2"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_field_makes_a_run_absent(store, name, value):
    put(store, A)
    path = store.root / "runs" / A / "run.json"
    values = json.loads(path.read_bytes())
    assert store.finished(A)
    path.write_text(json.dumps(values | {name: value}))
    assert store.finished(A) is None
    assert not path.exists()


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"\xff\xfe", b" " * (1 << 20) + b"{}"])
def test_what_is_no_json_makes_a_run_absent(store, text):
    put(store, A)
    (store.root / "runs" / A / "run.json").write_bytes(text)
    assert store.finished(A) is None
    assert store.stats()["runs"] == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
DAMAGED = st.one_of(
    st.binary(),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.tuples(st.sampled_from(sorted(json.loads(VALID))), JSON).map(
        lambda pair: json.dumps(json.loads(VALID) | {pair[0]: pair[1]}).encode()
    ),
    st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)).map(
        lambda at: VALID.encode()[: at[0]] + bytes([at[1]]) + VALID.encode()[at[0] + 1 :]
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(run=DAMAGED, curve=st.binary(), nodes=DAMAGED, limit=DAMAGED)
def test_no_damage_reaches_the_caller(tmp_path, run, curve, nodes, limit):
    root = tmp_path / "zoodip"
    shutil.rmtree(root, ignore_errors=True)
    store = Store(root)
    put(store, A)
    (root / "runs" / A / "run.json").write_bytes(run)
    (root / "runs" / A / "curve.bin").write_bytes(curve)
    (root / "nodes.json").write_bytes(nodes)
    (root / "store.json").write_bytes(limit)
    json.dumps(store.stats(), allow_nan=False)
    assert store.stats()["limit_mb"] == 256
    assert store.node_run("w", "1") is None
    found = store.finished(A)
    assert (found is not None) == (root / "runs" / A).exists()
    if found:
        json.dumps([found.step, found.created, found.preview_percent], allow_nan=False)
    store.save(record())
    store.set_node_run("w", "1", A)
    assert store.node_run("w", "1") == A


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text()
    | st.binary()
    | st.none()
    | st.text("0123456789abcdefA/.\n", min_size=63, max_size=65).filter(
        lambda key: not store_module.is_key(key)
    )
)
def test_odd_keys_name_nothing(tmp_path, key):
    store = Store(tmp_path / "zoodip")
    assert store.record(key) is store.finished(key) is store.unfinished(key) is None
    assert store.preview(key) is None
    for call in (
        lambda: store.folder(key),
        lambda: store.token_path(key),
        lambda: store.hold(key).__enter__(),
        lambda: store.save(record(key)),
        lambda: store.set_node_run("w", "1", key),
    ):
        with pytest.raises(ValueError, match=r"64 hexadecimal|belongs|key"):
            call()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", ["A" * 64, "a" * 63, "a" * 64 + "\n", "../" + "a" * 61, "٣" * 64])
def test_nearly_keys_are_none(key):
    assert not store_module.is_key(key)


def test_a_record_that_cannot_be_kept_is_refused_and_the_earlier_stays(store):
    put(store, A)
    with pytest.raises(ValueError, match="state cannot be 'dancing'"):
        store.save(record(state="dancing"))
    assert store.finished(A)


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(st.integers(0, 2**53), NUMBERS, NUMBERS)))
def test_curves_come_back_to_the_bit(points):
    assert unpack_curve(pack_curve(points)) == points


@given(st.binary() | st.binary().map(lambda tail: pack_curve(CURVE) + tail))
def test_damaged_curves_are_refused(data):
    if data != pack_curve(CURVE):
        with pytest.raises(ValueError, match="curve"):
            unpack_curve(data)


def test_numbers_that_are_not_finite_are_nothing_in_a_curve():
    points = unpack_curve(pack_curve([(1, math.nan, math.inf)]))
    assert points == [(1, None, None)]


# The limit.


def test_the_least_recently_used_runs_are_dropped(store):
    store.set_limit(16)
    for key in (A, B):
        put(store, key, token=7 * MB)
    store.finished(A)
    put(store, C, token=7 * MB)
    assert store.finished(A)
    assert store.finished(C)
    assert store.record(B) is None
    stats = store.stats()
    assert stats["runs"] == 2
    assert 14 * MB < stats["bytes"] < 14 * MB + 10_000
    assert not leftovers(store.root)


def test_neither_a_held_run_nor_the_one_being_saved_is_dropped(store):
    store.set_limit(16)
    with store.hold(A):
        put(store, A, token=15 * MB)
        put(store, B, token=17 * MB)
        assert store.finished(A)
        assert store.finished(B)
    put(store, C)
    assert store.record(A) is None


def test_a_lower_limit_acts_at_once_and_lasts(store):
    for key in (A, B):
        put(store, key, token=9 * MB)
    store.set_limit(16)
    assert store.record(A) is None
    assert store.finished(B)
    assert Store(store.root).limit_mb == 16


@pytest.mark.parametrize("limit", [15, 65537, True, 20.0, "20", None])
def test_a_limit_out_of_range_is_refused(store, limit):
    with pytest.raises(ValueError, match=r"limit_mb: needs a whole number from 16 to 65536; got"):
        store.set_limit(limit)
    assert store.limit_mb == 256


@pytest.mark.parametrize("limit", ["15", "1e999", "64.0", "true", "null", "{}"])
def test_a_damaged_limit_is_the_default(store, limit):
    store.set_limit(64)
    assert store.limit_mb == 64
    (store.root / "store.json").write_text(f'{{"limit_mb": {limit}}}')
    assert store.limit_mb == 256


def test_clear_forgets_all_but_the_held_one(store):
    for key in (A, B):
        put(store, key)
        store.set_node_run("w", key[0], key)
    with store.hold(A):
        store.clear()
    assert store.finished(A)
    assert store.record(B) is None
    assert store.node_run("w", "a") == A
    assert store.node_run("w", "b") is None
    assert store.stats()["runs"] == 1


def test_leftovers_of_killed_processes_are_swept_once_they_are_old(store, clock):
    put(store, A)
    runs = store.root / "runs"
    (runs / ".dropped-1").mkdir()
    names = [store.root / "nodes.jsonX.partial", runs / A / "run.jsonX.partial", runs / A / "t.tmp"]
    for path in names:
        path.write_bytes(b"x")
        os.utime(path, (clock.now, clock.now))
    os.utime(store.folder(B), (clock.now, clock.now))
    store.save(record())
    assert not (runs / ".dropped-1").exists()
    assert all(path.exists() for path in [*names, runs / B])
    clock.now += 3601
    store.save(record())
    assert not any(path.exists() for path in [*names, runs / B])
    assert store.finished(A)


# Several threads and processes.


def test_a_hold_that_nothing_came_of_leaves_nothing(store):
    with store.hold(A) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    assert list((store.root / "locks").iterdir()) == []


def test_a_hold_nests_in_its_thread_and_refuses_others(store):
    refusals = []

    def other(mine: Store):
        try:
            with mine.hold(A):
                refusals.append(None)
        except StoreError as error:
            refusals.append(str(error))

    with store.hold(A):
        with store.hold(A):
            pass
        for mine in (store, Store(store.root)):
            thread = threading.Thread(target=other, args=(mine,))
            thread.start()
            thread.join()
    other(Store(store.root))
    assert len(refusals) == 3
    assert refusals[2] is None
    for refusal in refusals[:2]:
        assert refusal.startswith("This training is already running and writes to ")
        assert A in refusal


def test_leftovers_of_a_run_that_another_thread_holds_stay(store):
    put(store, A, "stopped", unfinished=0)
    held, looked = threading.Event(), threading.Event()

    def train():
        with store.hold(A):
            held.set()
            looked.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert held.wait(60)
    found = store.unfinished(A)
    kept = store.token_path(A).exists()
    looked.set()
    thread.join()
    assert found is None
    assert kept


HOLD = """
import sys, types
package = types.ModuleType("comfyui_zoodip")
package.__path__ = [sys.argv[1]]
sys.modules["comfyui_zoodip"] = package
from comfyui_zoodip.node.store import Store
with Store(sys.argv[2]).hold(sys.argv[3]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_trains_is_neither_dropped_nor_damaged(store):
    root = Path(store_module.__file__).parents[1]
    put(store, A)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, root, store.root, A],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout.readline().strip() == b"held"
        store.token_path(A).unlink()  # the other is about to write it
        assert store.finished(A) is None
        store.clear()
        assert store.record(A)
        with pytest.raises(StoreError, match="already running"), store.hold(A):
            pass
    finally:
        other.kill()
        other.communicate()
    # Its lock went with it.
    assert store.finished(A) is None
    assert store.record(A) is None


def test_a_run_repaired_before_it_could_be_removed_stays(store, monkeypatch):
    put(store, A)
    run = store.root / "runs" / A / "run.json"
    good = run.read_bytes()
    run.write_bytes(b"half")
    acquire = store_files.FileLock.acquire

    def late(lock):
        run.write_bytes(good)
        return acquire(lock)

    monkeypatch.setattr(store_files.FileLock, "acquire", late)
    assert store.finished(A) is None
    assert store.finished(A)


def test_threads_that_save_and_drop_at_once_leave_whole_files(store):
    store.set_limit(16)
    keys = [f"{i:064x}" for i in range(4)]
    errors = []

    def work(offset: int):
        mine = Store(store.root)
        try:
            for i in range(12):
                key = keys[(i + offset) % 4]
                try:
                    with mine.hold(key):
                        put(mine, key, token=5 * MB)
                        mine.set_node_run("w", key, key)
                except StoreError as error:
                    if "already running" not in str(error):
                        raise
                mine.finished(keys[(i * 3 + offset) % 4])
                mine.stats()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store.save(record(keys[0]))
    assert store.stats()["bytes"] <= 16 * MB
    assert not leftovers(store.root)


# A disk that refuses.


@pytest.mark.parametrize("file", ["preview.jpg", "curve.bin", "run.json"])
def test_a_full_disk_is_one_message_and_leaves_what_was(store, monkeypatch, file):
    put(store, A)
    before = store.record(A)
    write = os.replace

    def full(source, target):
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(store_files.os, "replace", full)
        with pytest.raises(StoreError) as caught:
            store.save(replace(record(message="new"), step=9), preview=b"jpeg")
    assert str(caught.value) == (
        f"Could not write to {store.root / 'runs' / A}: No space left on device. Free disk space "
        "or make the folder writable, and try again; earlier trainings are as they were."
    )
    assert store.record(A) == before
    assert store.finished(A)
    assert not leftovers(store.root)


def test_a_full_disk_can_be_cleared(store, monkeypatch):
    put(store, A)
    store.set_node_run("w", "1", A)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_files.os, "open", full)
    monkeypatch.setattr(store_files.Path, "mkdir", full)
    with pytest.raises(StoreError, match="No space left on device"), store.hold(A):
        pass
    with pytest.raises(StoreError, match="No space left on device"):
        store.clear()  # the list of nodes cannot be written anew, but the room is made
    assert store.record(A) is None


def test_a_root_that_is_a_file_is_refused_with_its_name(tmp_path):
    root = tmp_path / "zoodip"
    root.write_bytes(b"")
    store = Store(root)
    assert store.record(A) is store.finished(A) is None
    for write in (
        lambda: store.save(record()),
        lambda: store.set_limit(20),
        lambda: store.set_node_run("w", "1", A),
        lambda: store.hold(A).__enter__(),
    ):
        with pytest.raises(StoreError, match=str(root)):
            write()


# Which run a node showed last.


def test_nodes_remember_their_last_run(store):
    store.set_node_run("w", "1", A)
    store.set_node_run("w", "2", B)
    store.set_node_run("", "1", C)
    store.set_node_run("w", "1", B)
    other = Store(store.root)
    assert [other.node_run(*name) for name in [("w", "1"), ("w", "2"), ("", "1")]] == [B, B, C]
    assert other.node_run("w", "3") is None


def test_the_node_unchanged_for_longest_is_forgotten(store):
    for i in range(500):
        store.set_node_run("w", str(i), A)
    store.set_node_run("w", "0", B)
    store.set_node_run("w", "500", A)
    assert store.node_run("w", "0") == B
    assert store.node_run("w", "1") is None
    assert store.node_run("w", "2") == A


def test_long_names_of_nodes_are_found_again(store):
    store.set_node_run("w" * 100_000, "\ud800", A)
    assert store.node_run("w" * 100_000, "\ud800") == A
    assert (store.root / "nodes.json").stat().st_size < 1000
