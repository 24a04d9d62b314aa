from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from spojit_stripe.connection import Caps, Connection, Connections, Limits, Policy, SecretRef
from spojit_stripe.errors import ConfigurationError
from spojit_stripe.values import Writes
from spojit_stripe.yamlfile import parse

BASE = {"connector": "stripe", "secret_key": "${env:KEY}", "mode": "test"}


def load(text: str) -> Connections:
    return Connections(parse(text, "c.yaml"), Path("c.yaml"))


def one(*lines: str, key: str = "${env:KEY}", mode: str = "test") -> Connection:
    """The connection `a` with `lines` added to it, which begin in line 5, column 5."""
    head = ["connections:", "  a:", f"    secret_key: {key}", f"    mode: {mode}"]
    return load("\n".join([*head, *(f"    {line}" for line in lines)])).get("a")


def test_a_connection_has_safe_defaults() -> None:
    found = one()
    assert (found.name, found.connector, found.mode) == ("a", "stripe", "test")
    assert found.policy.writes is Writes.DENY
    assert found.policy.allow_live is False
    assert found.enabled
    assert found.stamp_metadata
    assert found.warnings == ()
    assert found.base_url is None


def test_every_field_of_the_contract_is_read() -> None:
    found = one(
        "api_version: 2026-10-28.endive",
        "account: acct_1A",
        "base_url: http://127.0.0.1:12111",
        "policy:",
        "  writes: allow",
        "  allow_live: true",
        "  pins: {currency: usd}",
        "  caps:",
        "    per_call: {amount: 500, currency: USD}",
        "    per_run: [{amount: 900, currency: usd}, {amount: 800, currency: eur}]",
        "    per_day: {amount: 1000, currency: jpy}",
        "    count: 3",
        "limits: {account: 50, endpoint: 10.5, search: 5}",
        "stamp_metadata: false",
        "enabled: false",
    )
    caps = found.policy.caps
    assert caps is not None
    assert [(cap.amount, cap.currency) for cap in caps.per_call] == [(500, "usd")]
    assert [(cap.amount, cap.currency) for cap in caps.per_run] == [(900, "usd"), (800, "eur")]
    assert caps.count == 3
    assert caps.currencies == {"usd", "eur", "jpy"}
    assert (found.api_version, found.account, found.enabled) == ("2026-10-28.endive", "acct_1A", False)
    assert found.limits.endpoint == 10.5
    assert found.policy.pins == {"currency": "usd"}


def test_a_count_may_be_by_currency() -> None:
    caps = one("policy: {caps: {count: [{count: 2, currency: EUR}]}}").policy.caps
    assert caps is not None
    assert isinstance(caps.count, tuple)
    assert caps.currencies == {"eur"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("policy: {writes: alow}", "c.yaml:5:14: connection 'a', policy.writes: 'alow' is not one of deny, plan, ask"),
        ("policy: {write: allow}", "c.yaml:5:14: connection 'a', policy.write: unknown key; did you mean 'writes'?"),
        ("polcy: {}", "c.yaml:5:5: connection 'a', polcy: unknown key; did you mean 'policy'?"),
        ("secret-key: x", "c.yaml:5:5: connection 'a', secret-key: unknown key; did you mean 'secret_key'?"),
        ("policy: [a]", "c.yaml:5:5: connection 'a', policy: expected a mapping, got ['a']"),
        ("name: b", "c.yaml:5:5: connection 'a', name: unknown key; the key above is its name"),
        ("enabled: no", "c.yaml:5:5: connection 'a', enabled: input should be a valid boolean, got 'no'"),
        ("enabled: 1", "c.yaml:5:5: connection 'a', enabled: input should be a valid boolean, got 1"),
        ("api_version: 2020", "c.yaml:5:5: connection 'a', api_version: input should be a valid string"),
        ("api_version: latest", "c.yaml:5:5: connection 'a', api_version: string should match"),
        ("account: cus_1", "c.yaml:5:5: connection 'a', account: string should match"),
        ("limits: {account: 0}", "c.yaml:5:14: connection 'a', limits.account: input should be greater than 0"),
        ("policy: {caps: {per_call: {amount: 10.5, currency: usd}}}", "c.yaml:5:32: connection 'a', policy.caps"),
        ("policy: {caps: {per_call: {amount: -1, currency: usd}}}", "c.yaml:5:32: connection 'a', policy.caps"),
        ("policy: {caps: {per_call: {amount: 5}}}", "c.yaml:5:21: connection 'a', policy.caps.per_call.currency: is m"),
        (
            "policy: {caps: {per_call: {amount: 5, currency: dollars}}}",
            "c.yaml:5:43: connection 'a', policy.caps.per_c",
        ),
        ("policy: {caps: {per_call: 5}}", "c.yaml:5:21: connection 'a', policy.caps.per_call: expected a mapping"),
        ("policy: {caps: {count: -1}}", "c.yaml:5:21: connection 'a', policy.caps.count: input should be greater"),
        ("policy: {caps: {count: true}}", "c.yaml:5:21: connection 'a', policy.caps.count: input should be a valid"),
        ("base_url: http://127.0.0.1:99999", "c.yaml:5:5: connection 'a', base_url: Port out of range 0-65535"),
        ("base_url: http://[::1", "c.yaml:5:5: connection 'a', base_url: Invalid IPv6 URL"),
        ("base_url: http://127.0.0.1/v1", "c.yaml:5:5: connection 'a', base_url: must not have a path"),
        ("base_url: ftp://127.0.0.1", "c.yaml:5:5: connection 'a', base_url: write http://127.0.0.1:PORT"),
    ],
)
def test_a_fault_names_its_place_its_field_and_what_to_write(line: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        one(line)
    assert str(raised.value).startswith(fault)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^c.yaml:2:3: connection 'a', secret_key: is missing$"):
        load("connections:\n  a:\n    mode: test").get("a")
    with pytest.raises(ConfigurationError, match="'life' is not one of 'test' or 'live'"):
        one(mode="life")


@pytest.mark.parametrize("field", ["account", "api_version", "connector: [", "base_url"])
def test_a_key_in_the_wrong_field_is_not_repeated(field: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        one(
            f"{field.split(':')[0]}: {'[' if '[' in field else ''}sk_live_1234567890abcdef{']' if '[' in field else ''}"
        )
    assert "1234567890abcdef" not in str(raised.value)


# The address


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:12111",
        "http://127.0.0.1",
        "http://127.9.9.9:1/",
        "http://localhost:1",
        "http://LOCALHOST:1",
        "http://[::1]:1",
        "https://127.0.0.1",
    ],
)
def test_this_machine_is_a_good_address(url: str) -> None:
    assert one(f"base_url: {url}").base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example",
        "https://evil.example",
        "https://127.0.0.1.evil.example",
        "http://0x7f000001.evil.example",
        "http://10.0.0.1",
        "http://user@127.0.0.1",
        "http://:password@127.0.0.1",
        "http://127.0.0.1@evil.example",
        "http://127.0.0.1:80\\@evil.example",
        "http://evil.example\\@127.0.0.1",
        "http://evil.example#@127.0.0.1",
        "http://127.0.0.1?x",
        "http://127.0.0.1?",
        "http://127.0.0.1#",
        "http://127.0.0.1 evil.example",
        "http://①27.0.0.1",
        "//127.0.0.1",
        "127.0.0.1:80",
        "file:///etc/passwd",
        "",
    ],
)
def test_the_key_goes_to_no_other_machine_unasked(url: str) -> None:
    with pytest.raises(ValidationError):
        Connection.model_validate(BASE | {"name": "a", "base_url": url})


def test_another_host_must_be_named_and_have_tls() -> None:
    found = one("base_url: https://api.example", "allow_host: api.example")
    assert found.base_url == "https://api.example"
    with pytest.raises(ConfigurationError, match="so it needs https"):
        one("base_url: http://api.example", "allow_host: api.example")
    with pytest.raises(ConfigurationError, match=r"add allow_host: other\.example"):
        one("base_url: https://other.example", "allow_host: api.example")


# Secrets


@pytest.mark.parametrize(
    ("text", "scheme", "name"),
    [
        ("${env:STRIPE_SECRET_KEY}", "env", "STRIPE_SECRET_KEY"),
        (" ${file:/run/secrets/a b} ", "file", "/run/secrets/a b"),
        ("${vault:kv/stripe#key}", "vault", "kv/stripe#key"),
    ],
)
def test_a_reference_is_kept_and_shown_as_it_is(text: str, scheme: str, name: str) -> None:
    reference = SecretRef(text)
    assert (reference.scheme, reference.name, reference.is_literal) == (scheme, name, False)
    assert str(reference) == text.strip()
    assert repr(reference) == f"SecretRef({text.strip()})"


def test_a_literal_key_works_warns_and_is_never_shown() -> None:
    found = one(key="sk_test_1234567890abcdef")
    assert found.secret_key.is_literal
    assert found.secret_key.literal() == "sk_test_1234567890abcdef"
    assert str(found.secret_key) == "***"
    assert "1234567890" not in repr(found)
    assert "holds its key in the file itself" in found.warnings[0]


def test_references_compare_by_what_they_say() -> None:
    assert SecretRef("${env:A}") == SecretRef("${env:A}")
    assert len({SecretRef("${env:A}"), SecretRef("${env:A}"), SecretRef("key"), SecretRef("other")}) == 3
    assert SecretRef("${env:A}") != "${env:A}"


@pytest.mark.parametrize("value", ["", "  ", 5, None])
def test_an_empty_key_says_what_to_write(value: object) -> None:
    with pytest.raises(ValidationError, match="write a reference such as"):
        Connection.model_validate(BASE | {"name": "a", "secret_key": value})


def test_a_connection_can_be_made_in_python() -> None:
    reference = SecretRef("${env:KEY}")
    made = Connection(name="a", secret_key=reference, mode="test", policy=Policy(writes=Writes.ASK))
    assert made.secret_key is reference
    with pytest.raises(ValidationError):
        made.mode = "live"  # type: ignore[misc]


# Files


def test_one_broken_connection_does_not_stop_the_others() -> None:
    found = load("connections:\n  good: {secret_key: k, mode: test}\n  bad: {mode: test}\n  worse: 5\n")
    assert list(found) == ["good", "bad", "worse"]
    assert found.names == ("good", "bad", "worse")
    assert found.get("good").name == "good"
    with pytest.raises(ConfigurationError, match=r"c.yaml:4:3: connection 'worse': expected a mapping"):
        found.get("worse")


def test_an_unknown_connection_is_met_with_the_nearest_and_all() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown connection 'stripe-tset'; did you mean 'stripe-test'") as e:
        load("connections: {stripe-test: {}, other: {}}").get("stripe-tset")
    assert "c.yaml has: stripe-test, other" in str(e.value)
    with pytest.raises(ConfigurationError, match=r"c.yaml has: none"):
        load("").get("x")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a", "c.yaml:1:1: expected a mapping with the key 'connections'"),
        ("connection: {}", "c.yaml:1:1: unknown key 'connection'; expected 'connections'"),
        ("connections: [a]", "c.yaml:1:1: expected a mapping of names to connections"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(text)
    assert str(raised.value) == fault


@pytest.mark.parametrize("name", ["'a b'", "'../x'", "'-x'", "x" * 64, "''", "'a/b'"])
def test_a_name_is_plain(name: str) -> None:
    found = load(f"connections: {{{name}: {{secret_key: k, mode: test}}}}")
    with pytest.raises(ConfigurationError, match="a name is 1 to 63 letters"):
        found.get(found.names[0])


def test_the_file_is_named_or_in_the_environment_or_the_users_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("connections: {a: {secret_key: k, mode: test}}")
    assert Connections.load(file).names == ("a",)
    monkeypatch.setenv("SPOJIT_CONNECTIONS", str(file))
    assert Connections.load().path == file
    monkeypatch.delenv("SPOJIT_CONNECTIONS")
    with pytest.raises(ConfigurationError, match="spojit-stripe connections add") as raised:
        Connections.load()
    assert "spojit-stripe" in str(raised.value)
    assert "connections.yaml" in str(raised.value)


def test_a_missing_file_may_be_as_good_as_an_empty_one(tmp_path: Path) -> None:
    assert Connections.load(tmp_path / "none.yaml", missing_ok=True).names == ()


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't read the connections file") as raised:
        Connections.load(tmp_path)
    assert raised.value.message.endswith(f"{tmp_path}: Is a directory")
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="can't read the connections file"):
        Connections.load(file)


def test_broken_yaml_is_named_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("connections:\n  a: [")
    with pytest.raises(ConfigurationError, match=r"c\.yaml:2:7: not valid YAML"):
        Connections.load(file)


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "connections.md").read_text(encoding="utf-8")
    for model in (Connection, Policy, Caps, Limits):
        for name in model.model_fields:
            assert name in ("name", "policy", "caps") or f"`{name}`" in text or f"`caps.{name}`" in text, name
