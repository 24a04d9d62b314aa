"""Bad input gets one clear line and its exit code, and nothing is sent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

HAVE = (
    "main, readonly, asking, planning, restricted, publishable, live-key, test-key, wrong-key, no-env, no-file, "
    "no-scheme, bad-mode, bad-field, elsewhere, other, unreachable, pinned, capped"
)
TOOLS = (
    "create-charge, create-customer, create-invoice, create-payment-intent, get-customer, list-charges, "
    "list-customers, list-invoices, list-payment-intents, list-products, list-subscriptions, raw-api-request"
)
A_KEY = "use a secret key (sk_test_…, sk_live_…) or a restricted one (rk_test_…, rk_live_…)"
NOT_UTF8 = b"\xff\xfe{"

LIST = "call list-charges --connection main"
CHARGE = "call create-charge --connection main --currency usd --source tok_visa"
RAW = "call raw-api-request --connection main"
REFUND = f"{RAW} --method POST --path /v1/refunds"
ADD = "connections add x --mode test"

# (arguments, one item may hold spaces; the line without `error: `; exit code)
BAD: list[tuple[str | list[str], str, int]] = [
    # Keys and connections
    (
        "call list-charges --connection publishable",
        "connection 'publishable': secret_key is a publishable key: it is made for browsers and can neither list nor "
        f"charge; {A_KEY}",
        3,
    ),
    (
        "call list-charges --connection live-key",
        "connection 'live-key': secret_key is a live key, but the connection says mode: test; give a test key, or "
        "change the mode if live is meant",
        3,
    ),
    (
        "call list-charges --connection test-key",
        "connection 'test-key': secret_key is a test key, but the connection says mode: live; give a live key, or "
        "change the mode if test is meant",
        3,
    ),
    (
        "call list-charges --connection no-env",
        "connection 'no-env', secret_key ${env:TEST_NOT_SET}: the environment variable TEST_NOT_SET is not set",
        3,
    ),
    (
        "call list-charges --connection no-file",
        "connection 'no-file', secret_key ${file:/nowhere/key}: can't read the file /nowhere/key: No such file or "
        "directory",
        3,
    ),
    (
        "call list-charges --connection no-scheme",
        "connection 'no-scheme', secret_key ${envv:TEST_STRIPE_KEY}: unknown scheme; did you mean 'env'?; there are: "
        "env, file",
        3,
    ),
    (
        "call list-charges --connection bad-mode",
        "{folder}/connections.yaml:21:71: connection 'bad-mode', mode: 'tset' is not one of 'test' or 'live'",
        3,
    ),
    (
        "call list-charges --connection bad-field",
        "{folder}/connections.yaml:22:84: connection 'bad-field', polcy: unknown key; did you mean 'policy'?",
        3,
    ),
    (
        "call list-charges --connection elsewhere",
        "{folder}/connections.yaml:23:84: connection 'elsewhere', base_url: example.com is not this machine, and the "
        "key would go there; if that is meant, add allow_host: example.com (with `connections add`: --allow-host "
        "example.com)",
        3,
    ),
    ("call list-charges --connection other", "unknown connector 'netsuite'; installed: stripe", 3),
    (
        "call list-charges --connection mian",
        f"unknown connection 'mian'; did you mean 'main'?; {{folder}}/connections.yaml has: {HAVE}",
        3,
    ),
    (
        f"{LIST} --params @~nobody-of-this-name/x.json",
        "--params @~nobody-of-this-name/x.json: can't read it: there is no such home folder",
        2,
    ),
    (
        "ledger show 99999999999999999999",
        "invalid value for 'ID': 99999999999999999999 is not in the range 1<=x<=9223372036854775807 (see "
        "`spojit-stripe ledger show --help`)",
        2,
    ),
    (
        "ledger resolve 99999999999999999999",
        "invalid value for 'ID': 99999999999999999999 is not in the range 1<=x<=9223372036854775807 (see "
        "`spojit-stripe ledger resolve --help`)",
        2,
    ),
    (
        "ledger list --limit 99999999999999999999",
        "invalid value for '--limit': 99999999999999999999 is not in the range 1<=x<=1000000000 (see "
        "`spojit-stripe ledger list --help`)",
        2,
    ),
    (
        f"{LIST} --run-id sk_test_Abcdefgh12345678",
        "run id: holds what looks like a secret, and it is recorded; take another",
        2,
    ),
    ("sandbox --host \udcff", "'\\udcff' is not an address of this machine", 3),
    ("call list-charges", f"which connection? Name one with --connection: {HAVE}", 2),
    (
        "call list-charges --connections {folder}/broken.yaml",
        "{folder}/broken.yaml:3:4: not valid YAML: expected ',' or '}', but got ':'",
        3,
    ),
    (
        "call list-charges --connections {folder}/none.yaml",
        "no connections file at {folder}/none.yaml; make one with `spojit-stripe connections add`, or name it with "
        "--connections or SPOJIT_CONNECTIONS",
        3,
    ),
    (
        "call list-charges --connections {folder}/empty.yaml",
        "{folder}/empty.yaml holds no connection; add one with `spojit-stripe connections add`",
        3,
    ),
    (
        "call list-charges --connections {folder}",
        "invalid value for '--connections': File '{folder}' is a directory (see `spojit-stripe call list-charges "
        "--help`)",
        2,
    ),
    # Tools and flags
    ("call list-chargs", f"unknown tool 'list-chargs'; did you mean 'list-charges'? The tools are {TOOLS}", 2),
    ("call list_charges", f"unknown tool 'list_charges'; did you mean 'list-charges'? The tools are {TOOLS}", 2),
    ("tools frob", f"unknown tool 'frob'; the tools are {TOOLS}", 2),
    (
        f"{LIST} --statuss failed",
        "spojit-stripe call list-charges has no option --statuss; did you mean '--status'?",
        2,
    ),
    (
        f"{LIST} --metadata a=b",
        "spojit-stripe call list-charges has no option --metadata (see `spojit-stripe call list-charges --help`)",
        2,
    ),
    (
        f"{LIST} surplus",
        "got unexpected extra argument (surplus) (see `spojit-stripe call list-charges --help`)",
        2,
    ),
    (f"{LIST} --limit", "option '--limit' requires an argument", 2),
    (f"{LIST} --starting-after --all", "starting_after: --starting-after needs a value, but --all follows", 2),
    (f"{LIST} --limit 3 --limit 4", "limit: given 2 times; give it once", 2),
    (
        [*LIST.split(), "--limit", "3", "--params", '{"limit": 4}'],
        "limit: given by --limit and in another way too; give it once",
        2,
    ),
    (f"{LIST} --created 3 --created.gte 5", "created.gte: --created.gte does not go with another value of created", 2),
    # Parameters
    ([*LIST.split(), "--params", '{"creatd": 1}'], "creatd: unknown parameter; did you mean 'created'?", 2),
    (f"{LIST} --limit 0", "limit: 0 is out of range; use 1 to 100", 2),
    (f"{LIST} --limit 101", "limit: 101 is out of range; use 1 to 100", 2),
    (f"{LIST} --limit ten", 'limit: "ten" is text, but an integer is needed', 2),
    (
        f"{LIST} --starting-after ch_1 --ending-before ch_2",
        "starting_after and ending_before: not together; leave one out",
        2,
    ),
    (
        f"{LIST} --status faild",
        "status: \"faild\" is not known; did you mean 'failed'? It takes failed, pending, succeeded",
        2,
    ),
    ([*LIST.split(), "--customer", ""], "customer: is empty; give a value or leave it out", 2),
    (
        f"{LIST} --created 2026-11-01",
        'created: "2026-11-01" is no Unix time in seconds; write 1793491200 for 2026-11-01 00:00:00 UTC',
        2,
    ),
    (
        f"{LIST} --created.gte 1790000000000",
        "created.gte: 1790000000000 looks like milliseconds; write 1790000000, Unix time in seconds",
        2,
    ),
    (
        f"{LIST} --expand customer",
        'expand[0]: "customer" does not have the right form; write it like "data.customer"',
        2,
    ),
    ("call get-customer --connection main", "customer: missing; get-customer needs it", 2),
    (
        ["call", "get-customer", "--connection", "main", "--customer", ""],
        "customer: is empty; give a value or leave it out",
        2,
    ),
    (
        "call get-customer --connection main --customer cus_1/sources",
        'customer: "cus_1/sources" does not have the right form; write it like "cus_NffrFeUfNV2Hib"',
        2,
    ),
    (
        "call get-customer --connection main --customer ..",
        'customer: ".." does not have the right form; write it like "cus_NffrFeUfNV2Hib"',
        2,
    ),
    (
        "call create-payment-intent --connection main --amount 1050",
        "currency: missing; create-payment-intent needs it",
        2,
    ),
    # Amounts
    (f"{CHARGE} --amount 10.50", 'amount: "10.50" is not in minor units; write 1050 for 10.50 USD', 2),
    (
        [*LIST.replace("list-charges", "create-charge").split(), "--params", '{"amount": 10.50, "currency": "usd"}'],
        "amount: 10.5 is not in minor units; write 1050 for 10.50 USD",
        2,
    ),
    (
        [*LIST.replace("list-charges", "create-charge").split(), "--params", '{"amount": "10.50", "currency": "jpy"}'],
        'amount: "10.50" is not in minor units; JPY has no such fraction: write 10 for 10 JPY or 11 for 11 JPY',
        2,
    ),
    (
        f"{CHARGE} --amount 1e3",
        'amount: "1e3" has a fraction or an exponent; write 1000 for 10.00 USD, or 100000 for 1,000.00 USD',
        2,
    ),
    (f"{CHARGE} --amount 1,050", 'amount: "1,050" is text, but an integer is needed', 2),
    (f"{CHARGE} --amount 007", 'amount: "007" is text; write 7 without quotes for 0.07 USD', 2),
    (f"{CHARGE} --amount -5", "amount: -5 is out of range; use 1 to 99999999", 2),
    (
        "call create-charge --connection main --amount 5 --currency dollars",
        'currency: "dollars" does not have the right form; write it like "usd"',
        2,
    ),
    (f"{CHARGE} --amount 5 --capture maybe", 'capture: "maybe" is text, but true or false is needed', 2),
    (f"{CHARGE} --amount 5 --capture --no-capture", "capture: given 2 times; give it once", 2),
    (f"{CHARGE} --amount 5 --metadata order", "metadata: 'order' is not of the form NAME=VALUE", 2),
    (f"{CHARGE} --amount 5 --metadata a=1 --metadata a=2", "metadata.a: given twice; give it once", 2),
    (
        f"{CHARGE} --amount 5 --shipping Paris",
        "shipping: 'Paris' is no JSON object; set its fields with --shipping.NAME",
        2,
    ),
    (f"{CHARGE} --amount 5 --shipping.address.city Paris", "shipping.name: missing; shipping needs it", 2),
    # JSON
    (
        [*LIST.split(), "--params", '{"limit": 3,}'],
        "--params: not valid JSON at line 1, column 13: expecting property name enclosed in double quotes",
        2,
    ),
    (
        f"{LIST} --params @{{folder}}/broken.json",
        "--params @{folder}/broken.json: not valid JSON at line 2, column 13: expecting property name enclosed in "
        "double quotes",
        2,
    ),
    (
        f"{LIST} --params @{{folder}}/latin.json",
        "--params @{folder}/latin.json: can't read it: it is not UTF-8 text",
        2,
    ),
    (
        f"{LIST} --params @{{folder}}/none.json",
        "--params @{folder}/none.json: can't read it: No such file or directory",
        2,
    ),
    ([*LIST.split(), "--params", "[1]"], '--params: must be a JSON object such as {"limit": 3}', 2),
    ([*LIST.split(), "--params", '{"limit": NaN}'], "--params: NaN is no JSON number", 2),
    ([*LIST.split(), "--params", '{"limit": 1e999}'], "--params: 1e999 is too large a number", 2),
    ([*LIST.split(), "--params", '{"limit": 1, "limit": 2}'], "--params: 'limit' is given twice", 2),
    ([*LIST.split(), "--params", '{"limit": null}'], "limit: null is not allowed; leave it out or give a value", 2),
    ([*LIST.split(), "--params", "[" * 5000], "--params: nested too deeply", 2),
    # Paging, forms, files, runs
    (f"{LIST} --max-items 0", "max_items: must be more than 0, got 0", 2),
    (
        f"{LIST} --max-items many",
        "invalid value for '--max-items': 'many' is not a valid integer (see `spojit-stripe call list-charges --help`)",
        2,
    ),
    (f"{LIST} --deadline -1", "deadline_seconds: must be more than 0, got -1.0", 2),
    (
        f"{LIST} --format xml",
        "invalid value for '--format': 'xml' is not one of 'table', 'json', 'ndjson', 'csv' (see `spojit-stripe call "
        "list-charges --help`)",
        2,
    ),
    (f"{LIST} --format csv --json", "--json and --format csv do not go together", 2),
    (f"{LIST} -o /nowhere/x.csv", "can't write /nowhere/x.csv: No such file or directory", 3),
    (
        f"{LIST} --state {{folder}}/empty.yaml/state",
        "can't keep state in {folder}/empty.yaml/state: Not a directory; choose another folder with --state or "
        "SPOJIT_STATE",
        3,
    ),
    ([*CHARGE.split(), "--amount", "5", "--run-id", ""], "--run-id: must have 1 to 200 characters", 2),
    (
        [*CHARGE.split(), "--amount", "5", "--once", " "],
        "--once: is empty; a template that came out empty would make every call the same",
        2,
    ),
    (f"{CHARGE} --amount 5 --resume", "--resume: needs --run-id, the run whose call was refused", 2),
    # Policy
    (
        f"{CHARGE} --amount 1050 --connection readonly",
        "writes are denied on connection 'readonly'; to allow them set policy: {writes: ask} or {writes: allow}",
        4,
    ),
    (
        "call create-charge --connection pinned --amount 1050 --currency eur --source tok_visa",
        "currency is pinned to 'usd'; the call says 'eur'",
        4,
    ),
    (f"{CHARGE} --amount 1001 --connection capped", "10.01 USD is over the cap per call of 10.00 USD", 4),
    # Raw requests
    (f"{RAW} --path /v1/refunds", "method: missing; raw-api-request needs it", 2),
    (f"{RAW} --method PATCH --path /v1/refunds", 'method: "PATCH" is not known; it takes GET, POST, DELETE', 2),
    (
        f"{RAW} --method GET --path /v1/refnds",
        "GET /v1/refnds: Stripe has no such operation in 2026-10-28.endive; did you mean GET /v1/refunds?",
        2,
    ),
    (
        f"{RAW} --method GET --path https://evil.example/v1/refunds",
        'path: "https://evil.example/v1/refunds" does not have the right form; write it like "/v1/refunds"',
        2,
    ),
    (
        f"{RAW} --method GET --path /v1/charges/../customers",
        "path '/v1/charges/../customers': the part '..' would lead out of its place",
        2,
    ),
    (f"{REFUND} --param chrge=ch_1", "chrge: unknown parameter of POST /v1/refunds; did you mean 'charge'?", 2),
    (f"{REFUND} --param charge", "--param: 'charge' is not of the form NAME=VALUE", 2),
    (
        f"{REFUND} --param a[=1",
        "--param: 'a[' is no parameter name; write it like amount or metadata[order_id]",
        2,
    ),
    (f"{REFUND} --param charge=ch_1 --param charge=ch_2", "charge: given twice; give it once", 2),
    (
        f"{REFUND} --param charge=ch_1 --param amount=10.50",
        'amount: "10.50" is not in minor units; write 1050 for 10.50 USD (or as many decimals as your currency has)',
        2,
    ),
    (
        [*REFUND.split(), "--param", "charge=ch_1", "--params", '{"charge": "ch_2"}'],
        "charge: given by --param and in --params too; give it once",
        2,
    ),
    (f"{REFUND} --params charge=ch_1", "params: not valid JSON at line 1, column 1: expecting value", 2),
    (
        f"{RAW} --method GET --path /v1/charges --stripe-account 17",
        'stripe_account: "17" does not have the right form; write it like "acct_1032D82eZvKYlo2C"',
        2,
    ),
    # Connections
    (
        f"{ADD} --secret-key pk_test_abc",
        "connection 'x': secret_key is a publishable key: it is made for browsers and can neither list nor charge; "
        f"{A_KEY}",
        3,
    ),
    (
        f"{ADD} --secret-key sk_live_abcdef",
        "connection 'x': secret_key is a live key, but the connection says mode: test; give a test key, or change the "
        "mode if live is meant",
        3,
    ),
    (
        "connections add main --mode test --secret-key ${env:TEST_STRIPE_KEY}",
        "connection 'main' exists already in {folder}/connections.yaml; --replace replaces it",
        2,
    ),
    (
        ["connections", "add", "a b", "--mode", "test", "--secret-key", "${env:TEST_STRIPE_KEY}"],
        "connections add: connection 'a b': a name is 1 to 63 letters, digits, dots, dashes or underscores",
        2,
    ),
    (
        f"{ADD} --secret-key ${{env:TEST_STRIPE_KEY}} --base-url http://example.com",
        "connections add: connection 'x', base_url: example.com is not this machine, and the key would go there; if "
        "that is meant, write https:// and add allow_host: example.com (with `connections add`: --allow-host "
        "example.com)",
        2,
    ),
    (
        f"{ADD} --secret-key ${{env:TEST_STRIPE_KEY}} --account 17",
        "connections add: connection 'x', account: string should match pattern '^acct_[A-Za-z0-9]+$', got '17'",
        2,
    ),
    (
        f"{ADD} --secret-key ${{env:TEST_STRIPE_KEY}} --cap-per-call 10.50usd",
        "--cap-per-call: '10.50usd' is not AMOUNT:CURRENCY in minor units; write 50000:usd for 500.00 USD",
        2,
    ),
    (
        f"{ADD} --secret-key ${{env:TEST_STRIPE_KEY}} --pin currency",
        "--pin: 'currency' is not of the form NAME=VALUE",
        2,
    ),
    (
        f"{ADD} --secret-key ${{env:TEST_STRIPE_KEY}} --connections {{folder}}/broken.yaml",
        "{folder}/broken.yaml:3:4: not valid YAML: expected ',' or '}', but got ':'",
        3,
    ),
    (ADD, "missing option '--secret-key' (see `spojit-stripe connections add --help`)", 2),
    (
        "connections remove mian",
        f"unknown connection 'mian'; did you mean 'main'?; {{folder}}/connections.yaml has: {HAVE}",
        3,
    ),
    ("connections test main --tool frob", f"unknown tool 'frob'; the tools are {TOOLS}", 2),
    # The ledger, approvals and the rest
    ("ledger show 99", "no ledger entry 99: nothing is recorded in {folder}/state yet", 2),
    (
        "ledger show abc",
        "invalid value for 'ID': 'abc' is not a valid integer (see `spojit-stripe ledger show --help`)",
        2,
    ),
    ("ledger resolve 99 --found ch_1 --none", "--found and --none do not go together", 2),
    ("ledger resolve 99 --found a/b", "--found: 'a/b' is no object id", 2),
    ("ledger export -o /nowhere/x.csv", "can't write /nowhere/x.csv: No such file or directory", 3),
    (
        "ledger list --outcome lost",
        "invalid value for '--outcome': 'lost' is not one of 'open', 'done', 'failed', 'unsent', 'unknown' (see "
        "`spojit-stripe ledger list --help`)",
        2,
    ),
    ("approvals approve apr_x", "no approval 'apr_x': nothing is recorded in {folder}/state yet", 2),
    ("approvals approve", "missing argument 'ID' (see `spojit-stripe approvals approve --help`)", 2),
    (
        "sandbox --port 99999",
        "invalid value for '--port': 99999 is not in the range 0<=x<=65535 (see `spojit-stripe sandbox --help`)",
        2,
    ),
    (
        "sandbox --seed many",
        "invalid value for '--seed': 'many' is not a valid integer (see `spojit-stripe sandbox --help`)",
        2,
    ),
    (
        "sandbox --port 0 --state {folder}/empty.yaml/sandbox.db",
        "can't open the state file '{folder}/empty.yaml/sandbox.db': unable to open database file",
        3,
    ),
    ("--dry-run sandbox", "spojit-stripe sandbox has no dry run (see `spojit-stripe sandbox --help`)", 2),
    (
        "completion tcsh",
        "invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish' (see `spojit-stripe completion --help`)",
        2,
    ),
    (
        "frob",
        "spojit-stripe has no command 'frob'; it has call, tools, connections, ledger, approvals, sandbox, demo, "
        "validate, run, runs, agent, sync, reconcile, graph, completion (see `spojit-stripe --help`)",
        2,
    ),
    (
        "ledgr list",
        "spojit-stripe has no command 'ledgr'; did you mean 'ledger'? (see `spojit-stripe --help`)",
        2,
    ),
    ("--frob tools", "spojit-stripe has no option --frob (see `spojit-stripe --help`)", 2),
]


@pytest.fixture
def bad_files(folder: Path) -> Path:
    (folder / "broken.yaml").write_text("connections:\n  a: {mode: test\n  b: c\n")
    (folder / "broken.json").write_text('{\n "limit": 3,}')
    (folder / "latin.json").write_bytes(NOT_UTF8)
    (folder / "empty.yaml").write_text("connections:\n")
    return folder


def _words(arguments: str | list[str]) -> list[str]:
    return arguments.split() if isinstance(arguments, str) else arguments


@pytest.mark.parametrize(
    ("arguments", "line", "code"), BAD, ids=[" ".join(_words(arguments))[:70] for arguments, _, _ in BAD]
)
def test_bad_input(cli, box, bad_files, arguments, line, code) -> None:
    """One line on standard error, nothing on standard output but JSON that was asked for, nothing sent."""
    before = len(box.requests())
    ran = cli(*(word.replace("{folder}", str(bad_files)) for word in _words(arguments)))
    assert ran.err == f"error: {line.replace('{folder}', str(bad_files))}\n"
    assert ran.code == code
    if "--json" in arguments:
        assert ran.json["exit_code"] == code
    else:
        assert ran.out == ""
    assert len(box.requests()) == before


def test_the_table_is_long_enough() -> None:
    """Issue 2 asks for sixty."""
    assert len(BAD) >= 60
    assert len({str(arguments) for arguments, _, _ in BAD}) == len(BAD)


def test_an_unreachable_host_is_one_error(cli) -> None:
    """The line says that nothing was sent, and what may be wrong."""
    ran = cli("call", "get-customer", "--customer", "cus_1", "--connection", "unreachable")
    assert ran.code == 6
    assert ran.err.startswith(
        "error: GET /v1/customers/cus_1: http://127.0.0.1:9 (connection 'unreachable') can't be reached, nothing was "
        "sent: "
    )
    assert "start it with `spojit-stripe sandbox --port 9`" in ran.err
    assert "Traceback" not in ran.err


def test_a_port_that_is_taken(cli) -> None:
    """The sandbox names the port and does not start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = cli("sandbox", "--port", str(port))
    assert ran.code == 3
    assert ran.err.startswith("error: ")
    assert str(port) in ran.err
    assert ran.err.count("\n") == 1


def test_errors_as_json(cli) -> None:
    """With --json the error is data too, wherever the option stands."""
    for arguments in (("--json", "call", "list-charges", "--limit", "0"), ("call", "list-charges", "--frob", "--json")):
        ran = cli(*arguments, "--connection", "main")
        assert ran.code == 2
        assert ran.json["exit_code"] == 2
        assert ran.json["action"] == "fix_input"
        assert ran.err == f"error: {ran.json['message']}\n"
