"""What an earlier release left behind: today's code opens it, reads it to the byte, and carries it on. And the other way:
an earlier release on a file that today's code has had."""

import asyncio
import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

import payonce
from payonce.bootstrap import SystemClock
from payonce.cli import main
from payonce.core.errors import PROBLEMS, NewerSchema
from payonce.shown.bodies import PaymentBody
from payonce.stores.sqlite import open_store, open_to_read, schema
from payonce.testing.versions import Code, today

from .kept import Kept, changed, judged, listed, releases
from .workload import pay
from .world import S, World

RELEASES = releases()
DEPLOY_US = 20 * S  # from the last moment of the release to today's first: longer than a lease
HOUR_US = 3600 * S


@pytest.fixture(params=RELEASES, ids=[r.version for r in RELEASES])
def kept(request: pytest.FixtureRequest) -> Kept:
    """Each release in turn."""
    release: Kept = request.param
    return release


def on(open: Callable[[], Coroutine[Any, Any, Any]], use: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """What ``use`` says of the store that ``open`` opens."""

    async def run() -> Any:
        store = await open()
        try:
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(run())


def file_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The file to the byte, and its schema version."""
    connection = apsw.Connection(f"file:{path}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    version = {name: connection.pragma(name) for name in ("user_version", "application_id")}
    connection.close()
    return hashlib.sha256(path.read_bytes()).hexdigest(), version


# --- reading ------------------------------------------------------------------------------------------------------------


def test_there_is_a_release_to_read() -> None:
    """The folder of 0.1.0 stays for ever; none was dropped by mistake."""
    assert "0.1.0" in [r.version for r in RELEASES]


def test_it_is_migrated_and_says_what_it_said(kept: Kept, tmp_path: Path) -> None:
    """Today's schema, every event to the byte, every row as the release saw it, every payment in the listings."""
    path = kept.copy(tmp_path)
    assert on(lambda: open_store(path, executor="inline"), lambda store: changed(store, kept.payments)) == []
    assert file_of(path)[1]["user_version"] == len(schema.migrations())
    assert on(lambda: open_store(path), listed) == sorted(each["id"] for each in kept.payments)


def test_it_can_be_read_without_being_migrated(kept: Kept, tmp_path: Path) -> None:
    """A backup of then, opened to look only: it says the same, and stays as it was."""
    path = kept.copy(tmp_path)
    before = file_of(path)
    assert on(lambda: open_to_read(path), lambda store: changed(store, kept.payments)) == []
    assert file_of(path) == before


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE events SET raw = CAST(replace(CAST(raw AS TEXT), '\"api\"', '\"apy\"') AS BLOB) WHERE seq = 1",
            "the bytes of",
        ),
        ("UPDATE events SET hash = replace(hash, 'a', 'b') WHERE seq = 1", "hash of event 1"),
        ("DELETE FROM events WHERE seq = 3", "its history is not its row"),
        ("UPDATE payments SET document = CAST(replace(CAST(document AS TEXT), '1050', '1051') AS BLOB)", "amount_minor"),
        ("UPDATE due SET due_us = due_us + 1", "when it is due"),
        ("DELETE FROM keys", "what its key leads to"),
    ],
)
def test_a_change_would_be_seen(kept: Kept, tmp_path: Path, sql: str, said: str) -> None:
    """The comparison is not empty: each kind of change to the old rows is reported."""
    path = kept.copy(tmp_path)
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()
    found = on(lambda: open_store(path, executor="inline"), lambda store: changed(store, kept.payments))
    assert any(said in each for each in found), found


@pytest.mark.parametrize(("years", "migrated"), [(0, False), (0, True), (20, False), (20, True)])
def test_verify_finds_nothing(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, years: int, migrated: bool
) -> None:
    """`payonce verify` is content with the old file, today and in years, before and after its migration."""
    path = kept.copy(tmp_path)
    if migrated:
        on(lambda: open_store(path), listed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "now_us", lambda _: kept.now_us + years * 365 * 24 * HOUR_US)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["verify", "--data-dir", str(tmp_path), "--json"]) == 0
    said = json.loads(out.getvalue())
    assert (said["problems"], said["payments"]) == ([], len(kept.payments))
    assert said["events"] == sum(len(each["events"]) for each in kept.payments)


def test_the_api_shows_it(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Get, list and history of today's API over the old rows; what a client sent then is what it is shown now."""
    path = kept.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    mine = {each["id"]: each for each in kept.payments if each["asked"]["merchant"] == "mer_default"}

    async def run() -> None:
        async with payonce.open(path, worker=False) as p:
            shown = {body.transaction_id: body for body in (await p.list(limit=100)).data}
            assert shown.keys() == mine.keys()
            for payment_id, each in mine.items():
                body, asked = await p.get(payment_id), each["asked"]["body"]
                assert body == shown[payment_id]
                assert msgspec.json.decode(msgspec.json.encode(body), type=PaymentBody) == body
                view = each["view"]
                assert (body.status, body.reason or "", body.amount) == (view["status"], view["reason"], asked["amount"])
                assert (body.currency, body.idempotency_key) == (asked["currency"].upper(), each["asked"]["key"])
                assert (body.metadata, body.description) == (asked.get("metadata", {}), asked.get("description"))
                assert [e.hash for e in await p.history(payment_id)] == [e["hash"] for e in each["events"]]

    asyncio.run(run())


# --- carrying on --------------------------------------------------------------------------------------------------------


async def opened(kept: Kept, path: Path, *codes: Code) -> World:
    """The world of the release, some time after it stopped."""
    w = World(path, path.with_name("sandbox-ledger.db"), seed=2, now_us=kept.now_us + DEPLOY_US)
    await w.start(codes)
    return w


async def send(w: World, body: Mapping[str, Any], key: str, merchant: str = "mer_default") -> Any:
    """The first process is asked for a payment, as its own API would ask it."""
    process = w.processes[0]
    request = process.code.modules["payonce.core.idempotency"].normalise(body)
    return await process.engine.submit(process.code.Scope(merchant, "test"), request, key, actor="api")


async def asked_again(w: World, kept: Kept) -> None:
    """Each key answers with its payment, and with nothing else."""
    code = w.processes[0].code
    for each in kept.payments:
        body, key, merchant = (each["asked"][name] for name in ("body", "key", "merchant"))
        receipt = await send(w, body, key, merchant)
        assert (receipt.payment.id, receipt.replayed) == (each["id"], True)
        with pytest.raises(code.Refused) as refused:
            await send(w, {**body, "amount": body["amount"] + 1}, key, merchant)
        assert refused.value.code == "idempotency_key_reused"
        assert PROBLEMS[refused.value.code].status == 422


async def carried_on(w: World, kept: Kept, new: str) -> None:
    """What was open then comes to its end, and the books agree; a new payment is taken as on any file."""
    health = w.processes[0].health
    found = await health.states()
    assert found["razorpay_mock"].drain.reason == "maintenance at the vendor"
    assert found["cashfree_mock"].breaker.state == "open"
    await health.resume("razorpay_mock", "olga")
    fresh = (await send(w, pay("tok_ok", "razorpay_mock"), new)).payment.id
    await w.settle(w.now + HOUR_US)
    store = await open_store(w.path, executor="inline")
    try:
        ended = await judged(w, store, [*(each["id"] for each in kept.payments), fresh])
        assert ended[fresh].status == "SUCCESS"
        for each in kept.payments:
            if each["view"]["status"] in ("PENDING", "REQUIRES_ACTION"):
                declined = str(each["asked"]["body"]["paymentMethod"]).startswith("tok_decline")
                assert ended[each["id"]].status == ("FAILED" if declined else "SUCCESS"), each["asked"]["key"]
            elif each["view"]["status"] != "IN_DOUBT":
                assert ended[each["id"]].status == each["view"]["status"], each["asked"]["key"]
            entries = await store.history(each["id"], limit=1000)
            assert [e.raw for e in entries][: len(each["events"])] == [e["raw"].encode() for e in each["events"]]
    finally:
        await store.close()


def test_today_carries_on_what_was_open(kept: Kept, tmp_path: Path) -> None:
    """Two processes of today on the old file and the old books: keys answer as before, everything ends, nothing is lost or
    charged twice."""
    path = kept.copy(tmp_path)

    async def run() -> None:
        w = await opened(kept, path, today(), today())
        try:
            await asked_again(w, kept)
            await carried_on(w, kept, "new-today")
        finally:
            await w.close()

    asyncio.run(run())


# --- the other way ------------------------------------------------------------------------------------------------------


def test_the_old_code_works_on_todays_file_or_refuses_it(kept: Kept, tmp_path: Path) -> None:
    """A file that today's code has had: where its schema is the old one, the old code goes on with it as with its own;
    where it is newer, the old code refuses it and leaves every byte."""
    path, old = kept.copy(tmp_path), kept.code()
    assert on(lambda: open_store(path), listed)
    if old.file_schema < today().file_schema:
        refuses(old, path)
        return

    async def run() -> None:
        w = await opened(kept, path, old)
        try:
            await asked_again(w, kept)
            await carried_on(w, kept, "new-in-the-old-one")
            assert set().union(*w.works.values()) == {old.version}
        finally:
            await w.close()

    asyncio.run(run())


def refuses(old: Code, path: Path) -> None:
    """The old code does not open the file, and it is the same afterwards."""
    before = file_of(path)

    async def run() -> None:
        with pytest.raises(old.NewerSchema, match="run the newer payonce"):
            await old.open_store(path, executor="inline")

    asyncio.run(run())
    assert file_of(path) == before


def test_a_newer_file_is_refused_and_left_alone(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a release with one more migration: today's code of then brings the file forward, the old one refuses it."""
    path, old = kept.copy(tmp_path), kept.code()
    more = (*schema.migrations(), "CREATE TABLE next_year (id TEXT NOT NULL PRIMARY KEY) STRICT;")
    monkeypatch.setattr(schema, "migrations", lambda: more)
    assert on(lambda: open_store(path, executor="inline"), lambda store: changed(store, kept.payments)) == []
    assert file_of(path)[1]["user_version"] == len(more)
    refuses(old, path)


def test_a_process_that_is_at_work_outlives_an_added_table(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the file open when a newer version migrates it is not told: it goes on, so a migration may only add.
    Once that process ends, none of its version comes back."""
    path, old = kept.copy(tmp_path), kept.code()
    if old.file_schema < today().file_schema:
        pytest.skip("today's own migrations cannot be undone to begin with")
    more = (*schema.migrations(), "CREATE TABLE added (id TEXT NOT NULL PRIMARY KEY) STRICT;")
    monkeypatch.setattr(schema, "migrations", lambda: more)

    async def run() -> None:
        w = await opened(kept, path, old)
        try:
            await w.start([today()])
            assert file_of_open(path) == old.file_schema + 1
            await carried_on(w, kept, "new-in-between")
            assert set().union(*w.works.values()) == {old.version, today().version}
            with pytest.raises(old.NewerSchema):
                await w.processes[0].again()
        finally:
            await w.close()

    asyncio.run(run())


def file_of_open(path: Path) -> int:
    """The schema version of a file that others have open."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.pragma("user_version"))
    finally:
        connection.close()


def test_a_newer_row_is_left_alone_by_the_old_code(kept: Kept, tmp_path: Path) -> None:
    """A payment that a newer version has written to is not touched by the old one, and stays due; the others go on."""
    path, old = kept.copy(tmp_path), kept.code()
    if old.file_schema < today().file_schema:
        on(lambda: open_store(path), listed)
        refuses(old, path)
        return
    newer = kept.of_key("cut-charged")["id"]
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE payments SET schema = ? WHERE id = ?", (old.row_schema + 1, newer)).fetchall()
    before = connection.execute("SELECT * FROM payments WHERE id = ?", (newer,)).fetchall()
    due = connection.execute("SELECT * FROM due WHERE id = ?", (newer,)).fetchall()

    async def run() -> None:
        w = await opened(kept, path, old)
        try:
            with pytest.raises(old.NewerSchema):
                await w.processes[0].store.get(newer)
            for each in kept.payments:
                await w.processes[0].engine.advance(each["id"])
            assert newer not in w.works
            assert kept.of_key("cut-unsent")["id"] in w.works
        finally:
            await w.close()

    asyncio.run(run())
    assert connection.execute("SELECT * FROM payments WHERE id = ?", (newer,)).fetchall() == before
    assert connection.execute("SELECT * FROM due WHERE id = ?", (newer,)).fetchall() == due
    connection.close()


def test_a_process_starts_beside_rows_of_a_newer_version(kept: Kept, tmp_path: Path) -> None:
    """One row of a newer schema does not keep an older process from the others; that row it leaves alone."""
    path = kept.copy(tmp_path)
    connection = apsw.Connection(str(path))
    newer = connection.execute(
        "UPDATE payments SET schema = 99 WHERE id = (SELECT id FROM payments WHERE status = 'PENDING'"
        " ORDER BY id LIMIT 1) RETURNING id"
    ).get
    connection.close()
    other = next(each["id"] for each in kept.payments if each["id"] != newer and each["asked"]["merchant"] == "mer_default")

    async def run() -> None:
        async with payonce.open(path, worker=False) as p:
            assert (await p.get(other)).transaction_id == other
            with pytest.raises(NewerSchema):
                await p.get(str(newer))

    asyncio.run(run())
