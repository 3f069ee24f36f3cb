"""config.py: precedence, origins, unknown names, bounds, accounts, secrets."""

from pathlib import Path

import pytest

from payonce.config import SANDBOX_TERMS, SANDBOX_URL, SETTINGS, load, resolve_secret, warnings_of
from payonce.core.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No payonce.toml of the machine counts."""
    monkeypatch.chdir(tmp_path)


def toml(text: str, name: str = "payonce.toml") -> Path:
    path = Path(name)
    path.write_text("version = 1\n" + text)
    return path


def test_flags_over_environment_over_file_over_default() -> None:
    """Each source beats the next, and each value names its origin."""
    toml("[server]\nport = 1001\ndrain_s = 5\nhost = '0.0.0.0'\n")
    env = {"PAYONCE_PORT": "1002", "PAYONCE_DRAIN_S": "6"}
    values = load({"server.port": 1003, "server.host": None}, env).values
    assert values["server.port"] == (1003, "flag")
    assert values["server.drain_s"] == (6, "environment PAYONCE_DRAIN_S")
    assert values["server.host"] == ("0.0.0.0", "payonce.toml")  # noqa: S104  never bound here
    assert values["server.mode"] == ("test", "default")


def test_max_retries_is_the_second_name_of_attempts_max() -> None:
    """MAX_RETRIES counts; the name with the prefix wins."""
    assert load(env={"MAX_RETRIES": "7"}).values["payments.attempts_max"] == (7, "environment MAX_RETRIES")
    assert load(env={"MAX_RETRIES": "7", "PAYONCE_ATTEMPTS_MAX": "2"}).number("payments.attempts_max") == 2


def test_an_empty_environment_variable_is_not_given() -> None:
    """An exported but empty variable leaves the default."""
    assert load(env={"PAYONCE_PORT": ""}).values["server.port"] == (8080, "default")


def test_the_file_is_found_by_option_by_environment_and_in_the_folder() -> None:
    """--config beats PAYONCE_CONFIG beats ./payonce.toml; a named file that is missing is an error."""
    toml("[server]\nport = 1\n")
    toml("[server]\nport = 2\n", "two.toml")
    toml("[server]\nport = 3\n", "three.toml")
    assert load().number("server.port") == 1
    assert load(env={"PAYONCE_CONFIG": ""}).number("server.port") == 1
    assert load(env={"PAYONCE_CONFIG": "two.toml"}).number("server.port") == 2
    assert load(env={"PAYONCE_CONFIG": "two.toml"}, file="three.toml").number("server.port") == 3
    with pytest.raises(ConfigError, match=r"no configuration file missing\.toml"):
        load(file="missing.toml")


def test_a_configuration_that_is_no_file_is_refused() -> None:
    """A folder or a link to nothing under the name of the file does not start the shipped defaults in its place."""
    Path("payonce.toml").mkdir()
    for file in (None, "payonce.toml"):
        with pytest.raises(ConfigError, match=r"payonce\.toml is a folder: .* Nothing was started"):
            load(file=file)
    Path("payonce.toml").rmdir()
    Path("payonce.toml").symlink_to("gone.toml")
    with pytest.raises(ConfigError, match=r"payonce\.toml is no file that can be read"):
        load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n", r"server\.prot is not known; did you mean port\?"),
        ("[sever]\nport = 1\n", r"\[sever\] is not known; did you mean server\?"),
        ("server = 1\n", r"server must be a table"),
        ("[server]\nport = 70000\n", r"server\.port \(payonce\.toml\) must be a whole number from 0 to 65535"),
        ("[server]\nport = true\n", r"server\.port .* whole number"),
        ("[server]\nport = 1.5\n", r"server\.port .* whole number"),
        ("[server]\nport = -1\n", r"server\.port .* whole number"),
        ("[server]\nhost = 1\n", r"server\.host .* must be a string"),
        ("[server]\nmode = 'tset'\n", r"must be one of test, live; did you mean test\?"),
        ("[payments]\nattempts_max = 0\n", r"attempts_max .* from 1 to 20"),
        ("[server]\nlog_level = 'lowd'\n", r"must be one of debug, info, warning, error\. Nothing"),
        ("[server\n", r"is not valid TOML"),
        ("[providers]\nmock = 1\n", r"providers\.mock must be a table"),
        ("[providers.mock]\nhorizon_s = '60'\n", r"horizon_s must be a whole number from 1 to"),
        ("[providers.mock]\nhorizon_s = 0\n", r"horizon_s must be a whole number from 1 to"),
        ("[providers.mock]\ntimeout_ms = true\n", r"must be a table of strings and whole numbers"),
        ("[providers.mock]\nmode = 'prod'\n", r"providers\.mock\.mode must be test or live"),
    ],
)
def test_what_the_file_must_not_say(text: str, said: str) -> None:
    """An unknown name or a value out of bounds is an error that names it, and suggests what was meant."""
    toml(text)
    with pytest.raises(ConfigError, match=said):
        load()


def test_a_suggestion_ends_with_one_mark() -> None:
    """`did you mean port?` is not followed by a full stop."""
    for text in ("[server]\nprot = 1\n", "[sever]\nport = 1\n", "[server]\nmode = 'tset'\n"):
        toml(text)
        with pytest.raises(ConfigError) as raised:
            load()
        assert "?." not in str(raised.value)
    toml("")
    with pytest.raises(ConfigError) as raised:
        load(env={"PAYONCE_PROT": "1"})
    assert "?." not in str(raised.value)


def test_words_are_taken_in_any_case() -> None:
    """WARNING and warning are the same level."""
    assert load(env={"PAYONCE_LOG_LEVEL": "WARNING"}).text("server.log_level") == "warning"


def test_what_may_not_be_meant_is_warned_of() -> None:
    """An open bind address (keys travel in the clear; and the sandbox's pages), and live mode without a live account; else
    nothing."""
    assert warnings_of(load()) == []
    for host in ("localhost", "127.0.0.2", "::1"):
        assert warnings_of(load({"server.host": host})) == []
    for host in ("0.0.0.0", "::", "10.1.2.3", "shop.example"):  # noqa: S104  never bound here
        clear, sandbox = warnings_of(load({"server.host": host}))
        assert "speaks TLS" in clear
        assert "the sandbox runs in this process" in sandbox
    (warning,) = warnings_of(load({"server.mode": "live"}))
    assert "no live provider account" in warning
    toml("[server]\nhost = '0.0.0.0'\nmode = 'live'\n[providers.p]\nadapter = 'mock'\nbase_url = 'https://x.invalid'\n")
    (warning,) = warnings_of(load())
    assert "speaks TLS" in warning


def test_the_version_line_is_needed() -> None:
    """A file without `version = 1` was written for something else."""
    Path("payonce.toml").write_text("[server]\nport = 1\n")
    with pytest.raises(ConfigError, match="version = 1"):
        load()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PAYONCE_PROT": "1"}, r"PAYONCE_PROT is not known; did you mean PAYONCE_PORT\?"),
        ({"PAYONCE_PORT": "http"}, r"server\.port \(environment PAYONCE_PORT\)"),
        ({"MAX_RETRIES": "99"}, r"environment MAX_RETRIES\) must be a whole number from 1 to 20"),
        ({"PAYONCE_PORT": "\u0663"}, r"server\.port"),  # a digit, but not one of ours
        ({"PAYONCE_PORT": "9" * 5000}, r"server\.port"),  # more digits than Python converts
    ],
)
def test_what_the_environment_must_not_say(env: dict[str, str], said: str) -> None:
    """Unknown PAYONCE_ names and bad values are errors; other programs' variables are none of ours."""
    with pytest.raises(ConfigError, match=said):
        load(env=env)


def test_secrets_in_the_environment_are_not_settings() -> None:
    """PAYONCE_SECRET_* may hold credentials, and foreign variables are left alone."""
    assert load(env={"PAYONCE_SECRET_STRIPE": "x", "PATH": "/bin"}).number("server.port") == 8080


def test_every_setting_has_an_environment_name_and_valid_bounds() -> None:
    """The table is whole: unique names, a meaning, and a default within its own bounds."""
    names = [name for s in SETTINGS for name in s.env]
    assert len(names) == len(set(names))
    for s in SETTINGS:
        assert s.says
        assert s.env[0].startswith("PAYONCE_")
        if isinstance(s.default, int):
            assert s.low <= s.default <= s.high
        elif s.choices:
            assert s.default in s.choices


def test_without_accounts_the_sandbox_is_there_in_test_mode_only() -> None:
    """No account configured: the shipped accounts of the sandbox in test mode, none in live mode."""
    providers = load().providers
    assert [(p.name, p.adapter, p.mode, p.base_url) for p in providers] == [
        ("mock", "mock", "test", f"{SANDBOX_URL}/mock"),
        ("razorpay_mock", "razorpay", "test", f"{SANDBOX_URL}/razorpay"),
        ("cashfree_mock", "cashfree", "test", f"{SANDBOX_URL}/cashfree"),
        ("stripe_mock", "stripe", "test", f"{SANDBOX_URL}/stripe"),
        ("payu_mock", "payu", "test", f"{SANDBOX_URL}/payu"),
    ]
    assert all((p.terms, p.credential_id) == (SANDBOX_TERMS, "sandbox") for p in providers)
    assert all(p.origin.startswith("shipped defaults, line ") for p in providers)
    live = load({"server.mode": "live"})
    assert (live.providers, live.rules.rules) == ((), ())


SHIPPED = ["mock", "razorpay_mock", "cashfree_mock", "stripe_mock", "payu_mock"]
ACCOUNT = "[providers.a]\nadapter = 'mock'\n"


@pytest.mark.parametrize(
    ("text", "accounts", "rules", "origin"),
    [
        ("", SHIPPED, ["inr", "high-value", "anything-else"], "shipped defaults"),
        ("[[rules]]\nuse = 'mock'\n", SHIPPED, ["rule 1"], "payonce.toml"),
        ("rules = []\n", SHIPPED, [], "none: accounts in the order of the configuration"),
        (ACCOUNT, ["a"], [], "none: accounts in the order of the configuration"),
        (ACCOUNT + "[[rules]]\nname = 'mine'\nuse = 'a'\n", ["a"], ["mine"], "payonce.toml"),
    ],
    ids=["nothing", "rules only", "no rules", "accounts only", "both"],
)
def test_shipped_accounts_and_rules(text: str, accounts: list[str], rules: list[str], origin: str) -> None:
    """What is shipped stands in for what the file has not; rules only where the accounts are the shipped ones, too."""
    toml(text)
    settings = load()
    assert [p.name for p in settings.providers] == accounts
    assert [rule.name for rule in settings.rules.rules] == rules
    assert settings.rules_origin == origin


def test_thresholds_of_the_file_count_for_the_shipped_rules() -> None:
    """[routing.high_value] needs no rules and no accounts beside it."""
    assert (load().rules.high_value_default_minor, load().high_value_origin) == (1_000_000, "default")
    toml("[routing.high_value]\nINR = 5\n")
    settings = load()
    assert (dict(settings.rules.high_value_minor), settings.high_value_origin) == ({"INR": 5}, "payonce.toml")
    assert settings.rules_origin == "shipped defaults"


def test_in_live_mode_rules_need_live_accounts() -> None:
    """The shipped accounts do not exist in live mode: a rule that names one is refused with its line."""
    toml("[server]\nmode = 'live'\n[[rules]]\nuse = 'mock'\n")
    with pytest.raises(ConfigError, match=r"payonce\.toml, line 5: \[\[rules\]\] rule 1: use names mock, and there is no such"):
        load()


def test_rules_that_may_not_be_meant_are_warned_of() -> None:
    """Whoever starts the server hears of a rule that never chooses."""
    toml(f"[[rules]]\nuse = {SHIPPED}\n[[rules]]\nname = 'late'\nuse = 'mock'\n")
    assert warnings_of(load()) == ["Rule late never chooses: rule 1 before it matches all that it matches."]


def test_what_is_wrong_is_named_with_its_line() -> None:
    """Unknown sections and names, and what is wrong in an account, are found without searching."""
    for text, said in (
        ("\n[sever]\nport = 1\n", "payonce.toml, line 3: [sever] is not known; did you mean server?"),
        ("[rule]\nx = 1\n", "payonce.toml, line 2: [rule] is not known; did you mean rules?"),
        ("[server]\n\nprot = 1\n", "payonce.toml, line 4: server.prot"),
        ("[providers.a]\nadapter = 'mock'\nhorizon_s = 0\n", "payonce.toml, line 4: providers.a.horizon_s must be"),
        ("[providers.a]\nadapter = 'mock'\nsecret = 'hush'\n", "payonce.toml, line 4: providers.a.secret: write env:NAME"),
        ("providers = 1\n", "payonce.toml, line 2: providers must be tables"),
    ):
        toml(text)
        with pytest.raises(ConfigError) as refused:
            load()
        assert str(refused.value).startswith(said)


def test_live_mode_refuses_the_sandbox() -> None:
    """An account without a base_url, or with the sandbox as its target, is refused in live mode."""
    for target in ("", "base_url = 'sandbox'\n"):
        toml(f"[server]\nmode = 'live'\n[providers.mock]\n{target}")
        with pytest.raises(ConfigError, match="sandbox is refused in live mode"):
            load()
    toml(f"[server]\nmode = 'live'\n[providers.mock]\nbase_url = '{SANDBOX_URL}/mock'\n")
    with pytest.raises(ConfigError, match="sandbox is refused in live mode"):
        load()


def test_provider_times_are_facts_in_live_mode() -> None:
    """horizon_s, watch_s and settle_s are changed in test mode only; the call timeout always."""
    account = "[providers.p]\nadapter = 'mock'\nbase_url = 'https://x.invalid'\n"
    toml(account + "mode = 'live'\ntimeout_ms = 3000\n")
    assert load().providers[0].terms == {"call_timeout_ms": 3000}
    for key in ("horizon_s", "watch_s", "settle_s"):
        toml(account + f"mode = 'live'\n{key} = 5\n")
        with pytest.raises(ConfigError, match=rf"providers\.p\.{key} can be changed in test mode only"):
            load()
        toml(account + f"mode = 'test'\n{key} = 5\n")
        assert load().providers[0].terms == {key: 5}


def test_accounts_of_an_adapter() -> None:
    """NAME_mock is an account of adapter NAME at the sandbox; unknown keys of an account are credential references."""
    toml(
        "[providers.razorpay_mock]\nkey_id = 'env:RZP_ID'\n[providers.two]\nadapter = 'mock'\nbase_url = 'https://x.invalid/'\n"
    )
    first, second = load().providers
    assert (first.adapter, first.base_url) == ("razorpay", f"{SANDBOX_URL}/razorpay")
    assert first.credentials == {"key_id": "env:RZP_ID"}
    assert (second.adapter, second.base_url, second.terms) == ("mock", "https://x.invalid", {})


def test_secret_references_are_resolved() -> None:
    """env:NAME and file:PATH give the value, without the line's end."""
    Path("key").write_text("from-file\n")
    assert resolve_secret("env:K", {"K": "from-env"}, "here") == "from-env"
    assert resolve_secret("file:key", {}, "here") == "from-file"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:K", "environment variable K is not set"),
        ("file:none", "cannot read none"),
        ("sk_live_51abcdefgh", "does not belong into the configuration"),
        ("file:binary", "cannot read binary"),
        ("file:empty", "empty"),
    ],
)
def test_a_secret_that_cannot_be_had_is_never_shown(reference: str, said: str) -> None:
    """The error names place and fix; a value written instead of a reference is not repeated."""
    Path("binary").write_bytes(b"\xff\xfe")
    Path("empty").write_text("\n")
    with pytest.raises(ConfigError, match=said) as raised:
        resolve_secret(reference, {"K": ""}, "providers.p.secret")
    assert "providers.p.secret" in str(raised.value)
    assert "51abcdefgh" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('base_url = "https://user:secret@pay.example"', "must not hold a user or password"),
        ('base_url = "http://pay.example"\nmode = "live"', "https://"),
        ("timeout_ms = 2000000000", "from 1 to 120000"),
        ("horizon_s = 99999999", "from 1 to"),
    ],
)
def test_an_account_that_would_leak_or_hang_is_refused(table: str, says: str, tmp_path: Path) -> None:
    """Credentials in a URL, plain HTTP in live mode, and calls or horizons without end stop the start."""
    file = tmp_path / "payonce.toml"
    file.write_text(f"version = 1\n[providers.mock]\n{table}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as refused:
        load(file=file, env={})
    assert "secret" not in str(refused.value)


TABLES = {"PAYONCE_TRANSACTIONS_TABLE": "T", "PAYONCE_IDEMPOTENCY_TABLE": "I", "PAYONCE_REGISTRY_TABLE": "R"}


def test_payments_are_on_dynamodb_with_all_three_tables() -> None:
    """The starter's names count; some of the tables without the others are refused, each missing one named."""
    assert not load().on_dynamodb
    settings = load(env={"TRAN_TABLE": "T", "IDEM_TABLE": "I", "PAYONCE_REGISTRY_TABLE": "R"})
    assert (settings.on_dynamodb, settings.kept_at) == (True, "the DynamoDB table T")
    for name in TABLES:
        with pytest.raises(ConfigError, match=rf"\({name}\).* is not.*Nothing was started"):
            load(env={**TABLES, name: ""})
    with pytest.raises(ConfigError, match=r"PAYONCE_TRANSACTIONS_TABLE\) and store.registry_table"):
        load(env={"IDEM_TABLE": "I"})


def test_what_is_named_and_not_used_is_warned_of() -> None:
    """A file beside tables, and a queue without tables."""
    assert any("store.path is not used" in w for w in warnings_of(load(env={**TABLES, "PAYONCE_STORE_PATH": "x.db"})))
    queue = {"SQS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/due"}
    assert any("wake.queue_url is not used" in w for w in warnings_of(load(env=queue)))
    assert warnings_of(load(env={**TABLES, **queue})) == []


def test_the_sandbox_elsewhere() -> None:
    """Its address is checked, refused in live mode, and then nothing runs in this process."""
    settings = load(env={"PAYONCE_SANDBOX_URL": "http://10.0.0.7:8090"})
    assert (settings.sandboxed, settings.sandbox_here) == (True, False)
    assert all(p.base_url.startswith(SANDBOX_URL) for p in settings.providers), "the stored address stays"
    for bad in ("10.0.0.7:8090", "ftp://x", "http://u@x", "http://x/?a=1"):
        with pytest.raises(ConfigError, match=r"sandbox\.url"):
            load(env={"PAYONCE_SANDBOX_URL": bad})
    with pytest.raises(ConfigError, match="refused in live mode"):
        load(env={"PAYONCE_SANDBOX_URL": "http://127.0.0.1:8090", "PAYONCE_MODE": "live"})
