"""`call`: what is sent, what comes back, and in which form."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

from spojit_stripe.catalog import Catalog
from spojit_stripe.cli.app import run
from spojit_stripe.cli.show import show_done
from spojit_stripe.values import Done

MAIN = ("--connection", "main")
CHARGE = ("call", "create-charge", *MAIN, "--amount", "1050", "--currency", "usd")


def charges_of(box, customer: str) -> list[dict]:
    return [charge for charge in box.objects("charge") if charge["customer"] == customer]


# Lists


def test_a_list_is_a_table_with_a_completeness_line(cli, customer, as_of) -> None:
    """Amounts with their currency, times in UTC, whole ids, and one line on how complete it is."""
    charge = cli(*CHARGE, "--customer", customer, "--json").json
    ran = cli("call", "list-charges", *MAIN, "--customer", customer)
    header, _, row = ran.out.splitlines()
    assert header.split() == [
        "id",
        "amount",
        "status",
        "created",
        "customer",
        "amount_refunded",
        "captured",
        "refunded",
        "disputed",
    ]
    assert row.split() == [
        charge["id"],
        "10.50",
        "USD",
        "succeeded",
        as_of,
        customer,
        "0.00",
        "USD",
        "true",
        "false",
        "false",
    ]
    assert (ran.code, ran.err) == (0, f"1 charge, complete, 1 page, as of {as_of}\n")


def test_an_empty_list_is_a_result(cli, customer, as_of) -> None:
    """Nothing found is no error, and CSV still has its header."""
    ran = cli("call", "list-charges", *MAIN, "--customer", customer)
    assert (ran.code, ran.err) == (0, f"0 charges, complete, 1 page, as of {as_of}\n")
    ran = cli("call", "list-charges", *MAIN, "--customer", customer, "--format", "csv")
    assert ran.out == (
        "id,amount,currency,status,created,customer,payment_intent,amount_refunded,captured,refunded,disputed,"
        "failure_code,description\n"
    )
    assert cli("call", "list-charges", *MAIN, "--customer", customer, "--format", "ndjson").out == ""


def test_a_page_says_how_to_go_on(cli, as_of) -> None:
    """The cursor that the line names continues the list without a gap or a repeat."""
    whole = [one["id"] for one in cli("call", "list-customers", *MAIN, "--all", "--json").json["data"]]
    first = cli("call", "list-customers", *MAIN, "--limit", "2")
    cursor = whole[1]
    assert first.err == (
        f"2 customers, not complete: more with --starting-after {cursor} or --all, 1 page, as of {as_of}\n"
    )
    then = cli("call", "list-customers", *MAIN, "--starting_after", cursor, "--limit", "2", "--format", "ndjson")
    assert [json.loads(line)["id"] for line in then.out.splitlines()] == whole[2:4]


def test_bounds_on_a_long_list(cli) -> None:
    """--max-items and --max-pages read on, and stop where they say."""
    listing = cli("call", "list-charges", *MAIN, "--max-items", "3", "--json").json
    assert (listing["fetched"], listing["stopped_because"]) == (3, "max_items")
    listing = cli("call", "list-charges", *MAIN, "--limit", "2", "--max-pages", "2", "--json").json
    assert (listing["pages"], listing["fetched"], listing["stopped_because"]) == (2, 4, "max_pages")
    assert cli("call", "list-charges", *MAIN, "--all", "--deadline", "60", "--json").json["complete"] is True


def test_filters_say_who_filters(cli, as_of) -> None:
    """Stripe's list has no status filter, and metadata is found by search, which is never complete."""
    ran = cli("call", "list-charges", *MAIN, "--status", "failed", "--all")
    assert ran.err.startswith("status is filtered here, page by page: Stripe's list has no such filter\n")
    assert re.search(r"\d+ charges?, \d+ looked at, complete, \d+ pages?, as of 20\S+Z\n$", ran.err)
    ran = cli("call", "list-customers", *MAIN, "--metadata", "tier=none-has-it")
    assert ran.err == (
        "metadata is looked up by Stripe's search, which lags writes (usually under a minute)\n"
        "0 customers, not complete for certain: found by Stripe's search, which lags writes by up to an hour, 1 page, "
        f"as of {as_of}\n"
    )


def test_a_list_that_breaks_off_is_shown_and_exits_8(cli, box) -> None:
    """What was read is data; that it is not all is said on standard error and by the exit code."""
    box.fail("GET", "/v1/charges", skip=1, times=0, status=400, message="no more today")
    # A bounded list is read by the plain cursor; a whole one would leave out its last two seconds.
    ran = cli("call", "list-charges", *MAIN, "--limit", "3", "--max-items", "9", "--format", "ndjson")
    assert ran.code == 8
    assert len(ran.out.splitlines()) == 3
    assert "warning: the list is not complete: " in ran.err
    assert "3 charges, not complete (stopped by an error): more with --starting-after ch_" in ran.err


def test_json_is_the_envelope(cli, as_of) -> None:
    """--json, before or after the command, gives the one form of a list."""
    ran = cli("--json", *MAIN, "call", "list-products", "--limit", "1")
    assert list(ran.json) == [
        *("data", "complete", "as_of", "next_cursor", "fetched", "scanned", "pages", "stopped_because")
    ]
    assert ran.json == cli("call", "list-products", *MAIN, "--limit", "1", "--format", "json").json


def test_csv_is_raw(cli, customer) -> None:
    """Amounts as integers beside the currency, times as Unix seconds."""
    cli(*CHARGE, "--customer", customer, "--description", "=1+1")
    ran = cli("call", "list-charges", *MAIN, "--customer", customer, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(ran.out))
    assert (row["amount"], row["currency"], row["refunded"]) == ("1050", "usd", "false")
    assert row["created"].isdigit()
    assert row["description"] == "'=1+1"


def test_a_raw_list_is_read_like_any(cli, customer, as_of) -> None:
    """A raw GET of a list pages, and its cursor goes into a --param."""
    for _ in range(2):
        cli(*CHARGE, "--customer", customer)
    path = ("call", "raw-api-request", *MAIN, "--method", "GET", "--path", "/v1/charges", "--param")
    ran = cli(*path, f"customer={customer}", "--param", "limit=1")
    assert re.fullmatch(
        rf"1 object, not complete: more with --param starting_after=ch_\w+ or --all, 1 page, as of {as_of}\n", ran.err
    )
    assert cli(*path, f"customer={customer}", "--all", "--json").json["fetched"] == 2


def test_a_search_goes_on_by_its_token(cli) -> None:
    """A raw search names its page; a list that is searched for its filter has no flag for it."""
    for _ in range(2):
        cli("call", "create-customer", *MAIN, "--metadata", "searched=yes")
    query = "query=metadata['searched']:'yes'"
    search = ("call", "raw-api-request", *MAIN, "--method", "GET", "--path", "/v1/customers/search", "--param", query)
    ran = cli(*search, "--param", "limit=1")
    token = re.match(r"1 object, not complete: more with --param (page=\S+) or --all, ", ran.err)
    assert token is not None, ran.err
    assert cli(*search, "--param", "limit=1", "--param", token[1], "--json").json["fetched"] == 1
    ran = cli("call", "list-customers", *MAIN, "--metadata", "searched=yes", "--limit", "1")
    assert "\n1 customer, not complete: more with --all, 1 page" in ran.err


def test_backwards(cli) -> None:
    """A list that is read backwards goes on backwards."""
    oldest = cli("call", "list-customers", *MAIN, "--all", "--json").json["data"][-1]["id"]
    ran = cli("call", "list-customers", *MAIN, "--ending-before", oldest, "--limit", "1")
    assert re.match(r"1 customer, not complete: more with --ending-before cus_\w+ or --all, ", ran.err)


# Lists that are written as they come


class Told(io.StringIO):
    """Standard output that keeps apart what each page brought."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[str] = []

    def flush(self) -> None:
        self.flushed.append(self.getvalue())


@pytest.mark.parametrize("reveal", [(), ("--reveal",)])
@pytest.mark.parametrize("form", ["ndjson", "csv"])
@pytest.mark.parametrize("tool", ["list-charges", "list-payment-intents"])
def test_a_whole_list_is_written_as_it_would_be_at_its_end(cli, tool: str, form: str, reveal: tuple[str, ...]) -> None:
    """Byte for byte, whether or not secrets are shown."""
    listing = cli("call", tool, *MAIN, "--all", "--limit", "7", "--json", "--reveal").json
    assert listing["complete"]
    assert listing["fetched"] > 20
    whole = io.StringIO()
    done = Done(value=listing)
    show_done(whole, done, Catalog.load().tool(tool), form, reveal=bool(reveal))
    for order in ("newest", "any"):
        ran = cli("call", tool, *MAIN, "--all", "--limit", "7", "--format", form, "--order", order, *reveal)
        assert (ran.code, "complete" in ran.err) == (0, True)
        if order == "newest":
            assert ran.out == whole.getvalue()
        assert sorted(ran.out.splitlines()) == sorted(whole.getvalue().splitlines())
        assert ("_secret_***" in ran.out or "_secret_" not in ran.out) or reveal
        if tool == "list-payment-intents" and form == "ndjson":
            assert ('"client_secret": "***"' in ran.out) == (not reveal)


def test_pages_are_out_before_the_next_is_asked_for(cli, box, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever reads them need not wait, and nothing holds the whole."""
    told = Told()
    monkeypatch.setattr(sys, "stdout", told)
    ran = run(("call", "list-charges", *MAIN, "--limit", "3", "--max-pages", "3", "--format", "ndjson"))
    assert ran == 0
    assert [text.count("\n") for text in told.flushed][:3] == [3, 6, 9]


def test_an_empty_list_has_its_columns(cli) -> None:
    """As it has in any other way of writing it."""
    empty = ("call", "list-charges", *MAIN, "--created.lt", "1000000000", "--all", "--format")
    assert cli(*empty, "csv").out.startswith("id,amount,")
    assert cli(*empty, "ndjson").out == ""


def test_one_object_in_a_form_for_lists(cli, customer) -> None:
    """A raw request may be of either; what came decides."""
    raw = ("call", "raw-api-request", *MAIN, "--method", "GET", "--path", f"/v1/customers/{customer}")
    assert cli(*raw, "--all", "--format", "ndjson").json["id"] == customer


def test_a_list_that_ends_early_says_so_when_its_pages_are_out(cli, box, folder: Path) -> None:
    """Exit code 8; a file holds what came, and one that nothing came for stays as it was."""
    box.fail("GET", "/v1/products", skip=1, times=0, status=400, message="no more today")
    many = ("call", "list-products", *MAIN, "--all", "--limit", "2", "--format", "ndjson")
    ran = cli(*many)
    assert (ran.code, ran.out.count("\n")) == (8, 2)
    assert "no more today" in ran.err
    assert "not complete (stopped by an error): more with --starting-after prod_" in ran.err
    box.clear_faults()
    box.fail("GET", "/v1/products", skip=1, times=0, status=400)
    assert cli(*many, "-o", "x.ndjson").code == 8
    assert (folder / "x.ndjson").read_text() == ran.out
    box.clear_faults()
    box.fail("GET", "/v1/products", times=0, status=400)
    assert (cli(*many, "-o", "x.ndjson").code, cli(*many).out) == (6, "")
    box.clear_faults()
    assert (folder / "x.ndjson").read_text() == ran.out
    assert sorted(each.name for each in folder.iterdir()) == ["connections.yaml", "state", "x.ndjson"]


@pytest.mark.parametrize("more", [(), ("--max-items", "0"), ("--limit", "3")])
def test_an_order_is_for_whole_lists(cli, more: tuple[str, ...]) -> None:
    """One page has the one that it has."""
    ran = cli("call", "list-charges", *MAIN, "--order", "any", *more)
    assert ran.code == 2
    assert ran.err.startswith("error: max_items" if "0" in more else "error: --order: is for whole lists; add --all")


# Files


def test_the_file_name_says_the_form(cli, folder: Path) -> None:
    """-o writes what the suffix says; standard output stays empty."""
    for name, start in (("x.csv", "id,amount"), ("x.ndjson", '{"id": "'), ("x.json", '{\n  "data"'), ("x.txt", "id ")):
        ran = cli("call", "list-charges", *MAIN, "--limit", "1", "-o", name)
        assert (ran.code, ran.out) == (0, "")
        assert (folder / name).read_text().startswith(start)
    assert cli("call", "list-charges", *MAIN, "--limit", "1", "-o", "-").out.startswith("id ")


def test_a_file_is_replaced_as_a_whole_or_not_at_all(cli, box, folder: Path) -> None:
    """A failed call leaves the old file, and no draft beside it; permissions stay."""
    file = folder / "x.json"
    file.write_text("old")
    file.chmod(0o640)
    box.fail("GET", "/v1/products", status=400)
    assert cli("call", "list-products", *MAIN, "-o", "x.json").code == 6
    assert file.read_text() == "old"
    assert cli("call", "list-products", *MAIN, "-o", "x.json").code == 0
    assert json.loads(file.read_text())["data"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in folder.iterdir()) == ["connections.yaml", "state", "x.json"]


def test_a_file_that_cannot_be_kept_stops_a_write_unsent(cli, box, customer) -> None:
    """Nobody is charged for an answer that has no place."""
    ran = cli(*CHARGE, "--customer", customer, "-o", "/nowhere/x.json")
    assert (ran.code, charges_of(box, customer)) == (3, [])


def test_a_link_is_written_through(cli, folder: Path) -> None:
    """A symbolic link stays one; its target is replaced."""
    (folder / "target.csv").write_text("old")
    (folder / "link.csv").symlink_to(folder / "target.csv")
    cli("call", "list-products", *MAIN, "-o", "link.csv")
    assert (folder / "link.csv").is_symlink()
    assert (folder / "target.csv").read_text().startswith("id,")


# Parameters


def test_flags_become_parameters(cli, box) -> None:
    """Nested, repeated, named by the author, true and false: as Stripe gets them."""
    ran = cli(
        *("call", "create-customer", *MAIN, "--name", "Ada", "--address.city", "Paris", "--address.line1", "1 Rue"),
        *("--metadata", "order_id=6735", "--metadata", "note=a=b", "--preferred-locales", "fr"),
        *("--preferred-locales", "en", "--balance", "-500", "--invoice_settings.footer", "Thanks", "--no-validate"),
        *("--invoice-settings.custom-fields", '{"name": "PO", "value": "7"}', "--json"),
    )
    assert ran.code == 0, ran.err
    params = box.requests("POST", "/v1/customers")[-1].params
    stamped = params["metadata"].pop("spojit_key")
    assert stamped.startswith("spojit-")
    assert params == {
        "name": "Ada",
        "address": {"city": "Paris", "line1": "1 Rue"},
        "metadata": {"order_id": "6735", "note": "a=b"},
        "preferred_locales": {"0": "fr", "1": "en"},
        "balance": "-500",
        "invoice_settings": {"footer": "Thanks", "custom_fields": {"0": {"name": "PO", "value": "7"}}},
        "validate": "false",
    }


def test_params_and_flags_add_up(cli, box, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--params takes JSON, a file, or standard input; flags add to it."""
    (folder / "p.json").write_text('{"address": {"city": "Paris"}, "metadata": {"a": "1"}}')
    cli("call", "create-customer", *MAIN, "--params", "@p.json", "--address.line1", "1 Rue", "--metadata", "b=2")
    params = box.requests("POST", "/v1/customers")[-1].params
    assert params["address"] == {"city": "Paris", "line1": "1 Rue"}
    assert {"a": "1", "b": "2"}.items() <= params["metadata"].items()
    monkeypatch.setattr("sys.stdin", io.StringIO('{"name": "from standard input"}'))
    assert cli("call", "create-customer", *MAIN, "--params", "@-", "--json").json["name"] == "from standard input"


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        (("--capture",), "true"),
        (("--capture", "true"), "true"),
        (("--capture=false",), "false"),
        (("--no-capture",), "false"),
        ((), None),
    ],
)
def test_true_and_false(cli, box, customer, flags, sent) -> None:
    """A boolean is a flag, its opposite, or a value."""
    assert cli(*CHARGE, "--customer", customer, *flags).code == 0
    assert box.requests("POST", "/v1/charges")[-1].params.get("capture") == sent


def test_raw_parameters_are_typed_by_the_index(cli, box, customer) -> None:
    """`amount=500` is an integer and known as money; the same text under metadata stays text."""
    charge = cli(*CHARGE, "--customer", customer, "--json").json["id"]
    refund = ("call", "raw-api-request", *MAIN, "--method", "POST", "--path", "/v1/refunds", "--param")
    ran = cli(
        *refund, f"charge={charge}", "--param", "amount=500", "--param", "metadata[order]=500", "--param",
        "metadata.line=7", "--param", "expand[]=charge", "--param", "reverse_transfer=false", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (ran.json["amount"], ran.json["charge"]["id"]) == (500, charge)
    params = box.requests("POST", "/v1/refunds")[-1].params
    assert (params["amount"], params["expand"], params["reverse_transfer"]) == ("500", {"0": "charge"}, "false")
    assert {"order": "500", "line": "7"}.items() <= params["metadata"].items()
    (entry,) = [one for one in cli("ledger", "list", "--json").json if one["operation"] == "POST /v1/refunds"]
    assert (entry["amount"], entry["currency"], entry["params"]["amount"]) == (500, "usd", 500)


def test_raw_params_as_json(cli, customer) -> None:
    """--params of a raw request are the request's own."""
    ran = cli(
        *("call", "raw-api-request", *MAIN, "--method", "POST", "--path", f"/v1/customers/{customer}"),
        *("--params", '{"name": "Ada", "metadata": {"n": "1"}}', "--param", "phone=0123", "--json"),
    )
    assert (ran.json["name"], ran.json["metadata"]["n"], ran.json["phone"]) == ("Ada", "1", "0123")


def test_options_of_an_author(cli, box) -> None:
    """--stripe-account and --api-version reach the request of a raw call."""
    account = box.connected_accounts[0]
    ran = cli(
        *("call", "raw-api-request", *MAIN, "--method", "GET", "--path", "/v1/customers"),
        *("--stripe-account", account, "--api-version", "2026-10-28.endive", "--json"),
    )
    assert ran.code == 0, ran.err
    sent = box.requests("GET", "/v1/customers")[-1]
    assert (sent.account, sent.headers["stripe-version"]) == (account, "2026-10-28.endive")


def test_unchecked_sends_what_the_index_does_not_know(cli, box) -> None:
    """It asks first, because nobody knows its effect."""
    ran = cli(
        *("call", "raw-api-request", *MAIN, "--method", "POST", "--path", "/v1/novelties", "--unchecked"),
        *("--param", "amount=5"),
    )
    assert ran.code == 5
    assert "not in the reviewed table of effects" in ran.err
    assert box.requests("POST", "/v1/novelties") == []


# Objects


def test_an_object_is_json_and_its_secrets_are_blanked(cli, customer) -> None:
    """client_secret is shown only with --reveal."""
    intent = ("call", "create-payment-intent", *MAIN, "--amount", "700", "--currency", "jpy", "--customer", customer)
    assert cli(*intent).json["client_secret"] == "***"
    assert cli(*intent, "--reveal").json["client_secret"].startswith("pi_")
    ran = cli(*intent, "--format", "table")
    assert "amount    700 JPY\n" in ran.out
    assert "_secret_" not in ran.out
    (line,) = cli(*intent, "--format", "csv").out.splitlines()[1:]
    assert line.split(",")[1:3] == ["700", "jpy"]
    assert len(cli(*intent, "--format", "ndjson").out.splitlines()) == 1


def test_one_object_is_read(cli, customer) -> None:
    """A read of one object has nothing to tell on standard error."""
    ran = cli("call", "get-customer", *MAIN, "--customer", customer)
    assert (ran.json["id"], ran.err) == (customer, "")


def test_stripes_refusal_is_told_whole(cli) -> None:
    """What Stripe says, what to do, the codes and the request id."""
    ran = cli("call", "get-customer", *MAIN, "--customer", "cus_nobody", "--json")
    assert ran.code == 6
    first, second = ran.err.splitlines()
    assert first.startswith("error: No such customer: 'cus_nobody'")
    assert re.fullmatch(r" +resource_missing, parameter \w+, request req_\w+, https://\S+", second)
    assert (ran.json["code"], ran.json["exit_code"]) == ("resource_missing", 6)


# Literal keys


def test_a_literal_key_warns(cli) -> None:
    """It works, but not silently; here Stripe does not know it."""
    ran = cli("call", "list-charges", "--connection", "wrong-key")
    assert ran.code == 3
    assert ran.err.startswith("warning: connection 'wrong-key' holds its key in the file itself; ")
    assert "nobodyknowsit" not in ran.err + ran.out
