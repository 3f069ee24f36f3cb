"""The worker as Lambda runs it, and what the functions share, on the model of DynamoDB and SQS and the sandbox's vendors."""

import asyncio
import socket
from pathlib import Path

import pytest

from payonce.aws import runtime, worker
from payonce.aws.batch import BACKOFF_S
from payonce.aws.sweeper import Sent, sweep
from payonce.aws.worker import MARGIN_MS, longest_lease_ms, work
from payonce.bootstrap import App
from payonce.core.errors import ConfigError, StoreUnavailable

from .room import LONG_MS, SetClock, WatchedAws, heard, in_room, pay, record, status

NO_ID = "pay_short"


def test_a_batch_settles(tmp_path: Path) -> None:
    """Every payment of a batch is advanced to its end, whatever the provider says, and no message comes back."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        ids = [await pay(app, token, token) for token in ("tok_ok", "tok_decline_stolen_card", "tok_ok")[:2]]
        assert await work(app, [record(id, n) for n, id in enumerate(ids)], LONG_MS) == []
        assert [await status(app, id) for id in ids] == ["SUCCESS", "FAILED"]
        assert aws.hidden == []

    in_room(tmp_path, story)


def test_what_is_due_again_soon_is_sent_again(tmp_path: Path) -> None:
    """A payment that has to wait is sent again with the delay that its due time asks for, rounded up."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_500_then_ok", "k")
        await app.wake.flush()
        aws.sent.clear()
        for _ in range(20):
            assert await work(app, [record(id)], LONG_MS) == []
            due_us = await app.store.due_of(id)
            if due_us is None:
                break
            ((again, delay_s),) = aws.sent
            assert again == id
            assert 0 <= delay_s - (due_us - clock.now_us()) / 1_000_000 < 1
            aws.sent.clear()
            clock.at_us += delay_s * 1_000_000
        assert await status(app, id) == "SUCCESS"

    in_room(tmp_path, story)


def test_a_second_delivery_ends_without_a_third(tmp_path: Path) -> None:
    """A delivery that finds the payment not due, claimed elsewhere or waiting, changes nothing and sends nothing: else each
    doubled message would go on for as long as the payment is open."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id, waits_s = await pay(app, "tok_never_resolves", "k"), 0.0
        while waits_s < 3:
            await work(app, [record(id)], LONG_MS)
            due_us = await app.store.due_of(id)
            assert due_us is not None
            waits_s = (due_us - clock.now_us()) / 1_000_000
            clock.at_us += 1_000_000 if waits_s < 3 else 0
        before = await app.store.history(id)
        aws.sent.clear()
        assert await work(app, [record(id), record(id, 2)], LONG_MS) == []
        assert aws.sent == []
        assert await app.store.history(id) == before

    in_room(tmp_path, story)


def test_a_little_too_early_waits_here(tmp_path: Path) -> None:
    """A message that arrives a second before its payment is due is not lost: the worker waits for that moment."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_500_then_ok", "k")
        await work(app, [record(id)], LONG_MS)
        due_us = await app.store.due_of(id)
        assert due_us is not None
        steps = len(await app.store.history(id))
        clock.at_us = due_us - 1_000_000
        assert await work(app, [record(id)], LONG_MS) == []
        assert len(await app.store.history(id)) > steps

    in_room(tmp_path, story)


def test_too_little_time_gives_the_message_back(tmp_path: Path) -> None:
    """Where no call could end in time none is begun; the message is reported and shows again soon, not after the whole
    visibility timeout. An invocation with time does it."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_ok", "k")
        (failed,) = await work(app, [record(id)], MARGIN_MS + 1_500)
        assert (failed.message_id, aws.hidden) == ("m1", [("r1", BACKOFF_S[0])])
        assert len(await app.store.history(id)) == 1
        assert await work(app, [record(id)], LONG_MS) == []
        assert await status(app, id) == "SUCCESS"

    in_room(tmp_path, story)


def test_what_is_no_id_goes_to_the_dead_letters(tmp_path: Path) -> None:
    """A body that is no id is reported each time, a little later each time, so that SQS moves it; the rest is done."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_ok", "k")
        failed = await work(app, [record(NO_ID, 1), record(id, 2), record("", 3, 4)], LONG_MS)
        assert [each.message_id for each in failed] == ["m1", "m3"]
        assert aws.hidden == [("r1", BACKOFF_S[0]), ("r3", BACKOFF_S[3])]
        assert await status(app, id) == "SUCCESS"

    in_room(tmp_path, story)


def test_a_bug_fails_its_own_message_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises for one payment neither ends the invocation nor takes the others with it."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        bad, good = await pay(app, "tok_ok", "a"), await pay(app, "tok_ok", "b")
        advance = app.engine.advance

        async def breaks(payment_id: str) -> None:
            if payment_id == bad:
                raise RuntimeError("a bug")
            await advance(payment_id)

        monkeypatch.setattr(app.engine, "advance", breaks)
        failed = await work(app, [record(bad, 1), record(good, 2)], LONG_MS)
        assert [each.message_id for each in failed] == ["m1"]
        assert await status(app, good) == "SUCCESS"

    in_room(tmp_path, story)


def test_what_hangs_is_cut_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation answers before Lambda ends it: what is not done by then is cut and reported, the rest counts as done."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        good = await pay(app, "tok_ok", "b")
        advance = app.engine.advance

        async def hangs(payment_id: str) -> None:
            await (advance(payment_id) if payment_id == good else asyncio.Event().wait())

        monkeypatch.setattr(app.engine, "advance", hangs)
        monkeypatch.setattr(worker, "ANSWER_MS", LONG_MS - 500)
        failed = await work(app, [record(good, 1), record("pay_" + "0" * 20, 2)], LONG_MS)
        assert [each.message_id for each in failed] == ["m2"]
        assert await status(app, good) == "SUCCESS"

    in_room(tmp_path, story)


def test_a_silent_queue_does_not_hold_up_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sending ids again nor showing messages again may take longer than the invocation has left."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        async def silent(service: str, operation: str, params: object) -> object:
            if service == "sqs":
                await asyncio.Event().wait()
            return await call(service, operation, params)  # type: ignore[arg-type]

        call = aws.call
        id = await pay(app, "tok_500_then_ok", "k")
        monkeypatch.setattr(aws, "call", silent)
        began = asyncio.get_running_loop().time()
        failed = await work(app, [record(id, 1), record(NO_ID, 2)], 2_500)
        assert "m2" in [each.message_id for each in failed]
        assert asyncio.get_running_loop().time() - began < 2.5

    in_room(tmp_path, story)


def test_a_silent_store_is_no_failure_of_the_message(tmp_path: Path) -> None:
    """While DynamoDB does not answer nothing is reported: the payment is still due, the sweeper sends it again."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_ok", "k")
        aws.down = {"GetItem", "Query", "UpdateItem", "TransactWriteItems", "PutItem"}
        assert await work(app, [record(id)], LONG_MS) == []
        aws.down = set()
        assert (await sweep(app, Sent(), LONG_MS)).due == 1

    in_room(tmp_path, story)


def test_a_webhook_is_looked_up(tmp_path: Path) -> None:
    """The id of a webhook is handled too; one without its payment is sent again when it is to be looked up again."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        assert app.webhooks is not None
        letter = heard(app, 7)
        await app.webhooks.inbox.put(letter)
        assert await work(app, [record(letter.id)], LONG_MS) == []
        found = await app.webhooks.inbox.get(letter.id)
        assert found is not None
        assert (found.state, aws.sent) == ("parked", [(letter.id, 5)])

    in_room(tmp_path, story)


def test_under_a_hold_nothing_is_fired_or_sent_again(tmp_path: Path) -> None:
    """After a restore the worker starts nothing new, also when the mark was set after it had started, and leaves the pace to
    the sweeper. Once lifted it goes on."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        id = await pay(app, "tok_ok", "k")
        await app.wake.flush()
        aws.sent.clear()
        await app.hold.begin()
        assert await work(app, [record(id)], LONG_MS) == []
        assert (await status(app, id), aws.sent) == ("PENDING", [])
        await app.hold.lift()
        clock.at_us += 10_000_000
        await work(app, [record(id)], LONG_MS)
        assert await status(app, id) == "SUCCESS"

    in_room(tmp_path, story)


def test_a_hold_that_cannot_be_read_counts(tmp_path: Path) -> None:
    """Where the registry does not answer nothing is fired."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        aws.down = {"Query", "GetItem"}
        await runtime.respect_hold(app)
        assert app.engine.hold
        aws.down = set()
        clock.at_us += 2_000_000
        await runtime.respect_hold(app)
        assert not app.engine.hold

    in_room(tmp_path, story)


def test_calls_that_are_too_long_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A function that lives shorter than the longest call of an account says so, with what to change."""

    async def story(app: App, aws: WatchedAws, clock: SetClock) -> None:
        await work(app, [], longest_lease_ms(app) + MARGIN_MS)
        assert "WorkerTimeout" not in caplog.text
        await work(app, [], longest_lease_ms(app) + MARGIN_MS - 1)
        assert "WorkerTimeout" in caplog.text

    in_room(tmp_path, story)


# --- what they share ------------------------------------------------------------------------------------------------------


def test_a_failed_start_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose settings cannot be used says why and ends nothing; with settings that can, the next event starts."""
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PAYONCE_MODE", "tset")
    environment = runtime.Environment()
    with pytest.raises(ConfigError, match=r"server\.mode"):
        environment.app()
    monkeypatch.setenv("PAYONCE_MODE", "test")
    assert environment.app() is environment.app()
    with pytest.raises(SystemExit):
        environment.terminate()


@pytest.mark.parametrize("secret", [False, True])
def test_a_start_does_not_wait_for_a_silent_aws(secret: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No table is read to open the app, so it opens whatever DynamoDB does. Secrets are waited for within a bound, and then the
    next event tries again."""
    toml = '[providers.mock]\nbase_url = "http://127.0.0.1:1/mock"\nsecret = "aws-secret:mock"\n' if secret else ""
    (tmp_path / "payonce.toml").write_text("version = 1\n" + toml)
    monkeypatch.setattr(runtime, "OPEN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PAYONCE_CONFIG": str(tmp_path / "payonce.toml"),
            "PAYONCE_DATA_DIR": str(tmp_path),
            "PAYONCE_TRANSACTIONS_TABLE": "t",
            "PAYONCE_IDEMPOTENCY_TABLE": "i",
            "PAYONCE_REGISTRY_TABLE": "r",
            "PAYONCE_SANDBOX_URL": "http://127.0.0.1:1",
        }.items():
            monkeypatch.setenv(name, value)
        environment = runtime.Environment()
        if secret:
            with pytest.raises(StoreUnavailable, match="Nothing was taken or moved"):
                environment.app()
        else:
            assert environment.app().engine.hold is False
        with pytest.raises(SystemExit):
            environment.terminate()


def test_a_sandbox_inside_a_function_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template's defaults without any account: the log says what is missing, and nothing is taken."""
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    environment = runtime.Environment()
    with pytest.raises(ConfigError, match="SandboxUrl"):
        environment.app()
    assert not (tmp_path / "data").exists()
    with pytest.raises(SystemExit):
        environment.terminate()


@pytest.mark.parametrize("stands", ["monotonic", "wall"])
def test_after_a_freeze_connections_are_fresh(stands: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After twenty seconds without an event no open connection is used any more, by whichever clock shows the time."""
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(tmp_path))
    environment, dropped = runtime.Environment(), [0]
    app = environment.app()

    async def drop() -> None:
        dropped[0] += 1

    monkeypatch.setattr(app.transport, "drop_idle", drop)
    clock = SetClock()
    monkeypatch.setattr(environment, "_clock", clock)
    if stands == "monotonic":
        monkeypatch.setattr(clock, "monotonic_us", lambda: 0)
    else:
        monkeypatch.setattr(clock, "now_us", lambda: 0)

    async def nothing() -> None: ...

    environment.run(nothing())
    dropped[0] = 0
    for rest_s, wanted in ((0, 0), (19, 0), (21, 1), (1, 1), (3600, 2)):
        clock.at_us += rest_s * 1_000_000
        environment.run(nothing())
        assert dropped[0] == wanted, rest_s
    with pytest.raises(SystemExit):
        environment.terminate()


def test_sigterm_within_an_event_ends_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is under way is finished without any new call; then the app is closed and the process ends."""
    monkeypatch.setenv("PAYONCE_DATA_DIR", str(tmp_path))
    environment = runtime.Environment()
    app, done = environment.app(), []

    async def event() -> None:
        environment.terminate()
        assert app.engine.gone_by_us == 0
        done.append(True)

    with pytest.raises(SystemExit):
        environment.run(event())
    assert done

    async def closed() -> None:
        with pytest.raises(StoreUnavailable):
            await app.store.get("pay_" + "0" * 20)

    asyncio.run(closed())


def test_importing_a_handler_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on Lambda is the app opened at the import; there, what fails is only logged."""
    opened: list[int] = []
    monkeypatch.setattr(runtime, "_HERE", runtime.Environment())
    monkeypatch.setattr(runtime.Environment, "app", lambda _: opened.append(1))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    runtime.warm()
    assert opened == []
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    runtime.warm()
    assert opened == [1]
