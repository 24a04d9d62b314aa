"""The smaller language inside Jinja2's: what is written is held against it before it is compiled.

Jinja parses; `_Translator` lets through the few kinds of node that the language has and puts
references, members, comparisons and joins into our own hands. What is left is compiled by
Jinja's immutable sandbox, without attributes, methods or globals of its own.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from spojit_stripe.errors import InputError, SpojitError
from spojit_stripe.expressions import operators
from spojit_stripe.expressions.bounds import check_number, check_text, listed, plain, shown_name
from spojit_stripe.expressions.filters import FILTERS, FUNCTIONS, TESTS, Filter, signature
from spojit_stripe.expressions.reading import Reference, find, member
from spojit_stripe.jsonvalue import copied
from spojit_stripe.values import JsonValue
from spojit_stripe.words import nearest

__all__ = ["Expression", "split"]

LONGEST_EXPRESSION: Final = 2_000
LONGEST_TEXT: Final = 200_000
DEEPEST: Final = 40
_BRACKETS: Final = 60

_BEGINS: Final = {
    "block_begin": "{% … %} is not understood, only {{ … }} is",
    "comment_begin": "{# … #} is not understood, only {{ … }} is",
    "raw_begin": "{% raw %} is not understood; write {{ '{{' }} for the brackets themselves",
}
_OPENING = re.compile(r"\{[{%#]")


class _Function:
    """One of our own functions: all that the sandbox may call."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., JsonValue]) -> None:
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> JsonValue:
        return self._call(*args, **kwargs)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with every door shut but ours."""

    intercepted_binops = frozenset(operators.BINARY)
    intercepted_unops = frozenset(("+", "-"))

    def __init__(self, filters: Mapping[str, Filter]) -> None:
        super().__init__(optimized=False, keep_trailing_newline=True, cache_size=0, autoescape=False)
        self.globals = {}
        self.filters = {name: _guarded(name, filter_) for name, filter_ in filters.items()}
        self.tests = dict(TESTS)

    def is_safe_callable(self, obj: Any) -> bool:
        return isinstance(obj, _Function)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        return operators.binary(operator, left, right)

    def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
        return operators.unary(operator, arg)


def _guarded(name: str, filter_: Filter) -> Filter:
    if FILTERS.get(name) is filter_:
        return filter_

    def foreign(*args: Any, **kwargs: Any) -> JsonValue:
        # Copies: what a filter changes in place would change recorded outputs, and only until the run is resumed.
        own = {word: copied(value) for word, value in kwargs.items()}
        try:
            return plain(filter_(*map(copied, args), **own))
        except SpojitError as error:
            raise InputError(f"{name}: {error.message}") from None
        except Exception as error:  # a plug-in's filter may raise anything
            raise InputError(f"{name}: failed ({type(error).__name__})") from None

    foreign.__signature__ = inspect.signature(filter_)  # type: ignore[attr-defined]
    return foreign


@lru_cache(maxsize=8)
def _environment(filters: tuple[tuple[str, Filter], ...]) -> _Environment:
    return _Environment({**dict(filters), **FILTERS})


def split(text: str, filters: Mapping[str, Filter]) -> list[str | Expression]:
    """`text` as its plain parts and its expressions. Raises `InputError`."""
    if not _OPENING.search(text):
        return [text]
    if len(text) > LONGEST_TEXT:
        raise InputError(f"a text with {{{{ … }}}} has at most {LONGEST_TEXT:,} characters")
    environment = _environment(tuple(sorted(filters.items(), key=lambda pair: pair[0])))
    try:
        _check_tokens(environment, text)
        body = environment.parse(text).body
        return [part for output in body for part in _parts(output, environment)]
    except SpojitError:
        raise
    except TemplateSyntaxError as error:
        raise InputError(_syntax(error.message or "")) from None
    except RecursionError:
        raise InputError("{{ … }} is nested too deeply") from None


def _syntax(message: str) -> str:
    if "end of template" in message:
        return "{{ … }} can't be read: the closing }} is missing"
    return f"{{{{ … }}}} can't be read: {shown_name(message.rstrip('.'))}"


def _check_tokens(environment: _Environment, text: str) -> None:
    """Refuse statements and comments, which parsing would swallow, and what is too long or deep."""
    length, depth = 0, 0
    for _, kind, value in environment.lex(text):
        if kind in _BEGINS:
            raise InputError(_BEGINS[kind])
        if kind == "variable_begin":
            length, depth = 0, 0
        length += 0 if kind == "data" else len(value)
        if kind == "operator":
            depth += (value in "([{") - (value in ")]}")
        if length > LONGEST_EXPRESSION:
            raise InputError(f"an expression has at most {LONGEST_EXPRESSION:,} characters")
        if depth > _BRACKETS:
            raise InputError("{{ … }} is nested too deeply")


def _parts(output: nodes.Node, environment: _Environment) -> list[str | Expression]:
    # Statements are refused by then, so there is nothing but output.
    return [
        check_text(node.data) if isinstance(node, nodes.TemplateData) else _expression(node, environment)
        for node in cast("nodes.Output", output).nodes
    ]


def _expression(node: nodes.Expr, environment: _Environment) -> Expression:
    omit = isinstance(node, nodes.Filter) and node.name == "omit"
    if omit:
        outer = cast("nodes.Filter", node)
        if outer.args or outer.kwargs:
            raise InputError("omit takes nothing in brackets")
        node = cast("nodes.Expr", outer.node)
    translator = _Translator(environment)
    translated = translator.translate(node, 0)
    pure = translator.references[0] if isinstance(_static(node), Reference) else None
    return Expression(environment, translated, tuple(translator.references), pure=pure, omit=omit)


class Expression:
    """One checked expression. `pure` is its reference where it is nothing else."""

    __slots__ = ("_compiled", "_environment", "_node", "omit", "pure", "references")

    def __init__(
        self,
        environment: _Environment,
        node: nodes.Expr,
        references: tuple[Reference, ...],
        *,
        pure: Reference | None,
        omit: bool,
    ) -> None:
        self._environment = environment
        self._node = node
        self._compiled: TemplateExpression | None = None
        self.references = references
        self.pure = pure
        self.omit = omit

    def value(self, scope: Mapping[str, JsonValue], now: int) -> JsonValue:
        """The value in `scope`. Raises `InputError` and nothing else."""
        try:
            if self.pure is not None:
                return find(scope, self.pure)
            return plain(self._program()(self._names(scope, now)))
        except SpojitError:
            raise
        except RecursionError:
            raise InputError("the expression or its data is nested too deeply") from None
        except Exception as error:  # no value of a workflow's data may end a run with a traceback
            raise InputError(f"can't be calculated ({type(error).__name__})") from None

    def _program(self) -> TemplateExpression:
        if self._compiled is None:
            # As `Environment.compile_expression` does with the source of an expression.
            body = [nodes.Assign(nodes.Name("result", "store"), self._node, lineno=1)]
            template = self._environment.from_string(nodes.Template(body, lineno=1))
            self._compiled = TemplateExpression(template, undefined_to_none=False)
        return self._compiled

    def _find(self, scope: Mapping[str, JsonValue], place: int) -> JsonValue:
        return find(scope, self.references[place])

    def _names(self, scope: Mapping[str, JsonValue], now: int) -> dict[str, _Function]:
        return {
            "_lookup": _Function(partial(self._find, scope)),
            "_member": _Function(member),
            "_compare": _Function(operators.compare),
            "_concat": _Function(operators.concatenate),
            "_cut": _Function(operators.cut),
            "_function": _Function(partial(_run_function, now)),
        }


def _run_function(now: int, name: str, *args: Any, **named: Any) -> JsonValue:
    return FUNCTIONS[name](now, *args, **named)


@dataclass(frozen=True, slots=True)
class _Static:
    """A constant that stands in brackets: `[0]`, `['key']`."""

    key: str | int


def _static(node: nodes.Node) -> Reference | None:
    """The reference that `node` is, if all of it stands written."""
    if isinstance(node, nodes.Name):
        return Reference(node.name)
    if isinstance(node, nodes.Getattr):
        owner = _static(node.node)
        return owner and Reference(owner.root, (*owner.path, node.attr))
    if isinstance(node, nodes.Getitem):
        owner, key = _static(node.node), _key(node.arg)
        return Reference(owner.root, (*owner.path, key.key)) if owner and key else None
    return None


def _key(node: nodes.Node) -> _Static | None:
    sign = 1
    if isinstance(node, nodes.Neg):
        node, sign = node.node, -1
    if not isinstance(node, nodes.Const) or isinstance(node.value, bool):
        return None
    if isinstance(node.value, int):
        return _Static(sign * node.value)
    return _Static(node.value) if isinstance(node.value, str) and sign == 1 else None


def _described(node: nodes.Node) -> str:
    """What messages call the value of `node`."""
    static = _static(node)
    if static is not None:
        return str(static)
    if isinstance(node, nodes.Filter) and node.node is not None:
        return f"({_described(node.node)} | {node.name})"
    if isinstance(node, nodes.Getitem):
        return f"{_described(node.node)}[…]"
    return f"{_described(node.node)}.{node.attr}" if isinstance(node, nodes.Getattr) else "(…)"


class _Translator:
    """Makes of Jinja's tree one that holds only what the language has."""

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment
        self.references: list[Reference] = []

    def translate(self, node: nodes.Node, depth: int) -> nodes.Expr:
        if depth > DEEPEST:
            raise InputError("{{ … }} is nested too deeply")
        static = _static(node)
        if static is not None:
            return self._reference(static)
        rule = _RULES.get(type(node))
        if rule is None:
            raise InputError(f"{{{{ … }}}} has no {_NOT_THERE.get(type(node), type(node).__name__.lower())}")
        return rule(self, node, depth + 1)

    def _reference(self, reference: Reference) -> nodes.Expr:
        if reference.root.startswith("_"):
            raise InputError(f"{shown_name(reference.root)}: no name begins with an underscore")
        if reference.root in FUNCTIONS:
            raise InputError(f"{reference.root} is a function: write {reference.root}()")
        if reference not in self.references:
            self.references.append(reference)
        return _call("_lookup", nodes.Const(self.references.index(reference)))

    def constant(self, node: nodes.Const, _depth: int) -> nodes.Expr:
        value = node.value
        if isinstance(value, str):
            check_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError("{{ … }} holds a number that is too large")
        elif isinstance(value, int) and not isinstance(value, bool):
            check_number(value)
        return nodes.Const(value)

    def member(self, node: nodes.Getattr, depth: int) -> nodes.Expr:
        owner = self.translate(node.node, depth)
        return _call("_member", owner, nodes.Const(node.attr), nodes.Const(_described(node.node)))

    def item(self, node: nodes.Getitem, depth: int) -> nodes.Expr:
        owner = self.translate(node.node, depth)
        if isinstance(node.arg, nodes.Slice):
            if node.arg.step is not None:
                raise InputError("{{ … }} has no steps in [from:to]; use | reverse")
            bounds = [self._or_none(bound, depth) for bound in (node.arg.start, node.arg.stop)]
            return _call("_cut", owner, *bounds)
        return _call("_member", owner, self.translate(node.arg, depth), nodes.Const(_described(node.node)))

    def _or_none(self, node: nodes.Expr | None, depth: int) -> nodes.Expr:
        return nodes.Const(None) if node is None else self.translate(node, depth)

    def compare(self, node: nodes.Compare, depth: int) -> nodes.Expr:
        if len(node.ops) != 1:
            raise InputError("{{ … }} has no a < b < c; write a < b and b < c")
        (operand,) = node.ops
        sides = self.translate(node.expr, depth), self.translate(operand.expr, depth)
        return _call("_compare", nodes.Const(operand.op), *sides)

    def concat(self, node: nodes.Concat, depth: int) -> nodes.Expr:
        return _call("_concat", *(self.translate(one, depth) for one in node.nodes))

    def condition(self, node: nodes.CondExpr, depth: int) -> nodes.Expr:
        if node.expr2 is None:
            raise InputError("`… if …` needs an else")
        test, one, other = (self.translate(part, depth) for part in (node.test, node.expr1, node.expr2))
        return nodes.CondExpr(test, one, other)

    def binary(self, node: nodes.BinExpr, depth: int) -> nodes.Expr:
        return type(node)(self.translate(node.left, depth), self.translate(node.right, depth))

    def unary(self, node: nodes.UnaryExpr, depth: int) -> nodes.Expr:
        return type(node)(self.translate(node.node, depth))

    def list_(self, node: nodes.List, depth: int) -> nodes.Expr:
        return nodes.List([self.translate(item, depth) for item in node.items])

    def dict_(self, node: nodes.Dict, depth: int) -> nodes.Expr:
        pairs = [(self.translate(pair.key, depth), self.translate(pair.value, depth)) for pair in node.items]
        return nodes.Dict([nodes.Pair(key, value) for key, value in pairs])

    def filter(self, node: nodes.Filter, depth: int) -> nodes.Expr:
        if node.name == "omit":
            raise InputError("omit stands last, and in a value that is one expression")
        name, filters = node.name, self._environment.filters
        if name not in filters:
            known = sorted((*filters, "omit"))
            raise InputError(f"there is no filter {shown_name(name)!r}{nearest(name, known) or _all_of(known)}")
        args, named = self._arguments(node, filters[name], f"| {name}", depth, given=1)
        return nodes.Filter(self.translate(cast("nodes.Expr", node.node), depth), name, args, named, None, None)

    def test(self, node: nodes.Test, depth: int) -> nodes.Expr:
        if node.name in ("defined", "undefined"):
            raise InputError(
                f"there is no test {node.name!r}: what is missing is an error; ask `'key' in object`, read it with "
                "| get('key'), or test `is none`"
            )
        if node.name not in TESTS:
            raise InputError(f"there is no test {shown_name(node.name)!r}{nearest(node.name, TESTS) or _all_of(TESTS)}")
        args, named = self._arguments(node, TESTS[node.name], f"is {node.name}", depth, given=1)
        return nodes.Test(self.translate(node.node, depth), node.name, args, named, None, None)

    def call(self, node: nodes.Call, depth: int) -> nodes.Expr:
        if not isinstance(node.node, nodes.Name):
            raise InputError(
                f"{shown_name(_described(node.node))}(…) is a call, and values have no methods; "
                "read a field without brackets, or use a filter"
            )
        name = node.node.name
        if name not in FUNCTIONS:
            filtered = f"; write it as a filter: value | {name}" if name in self._environment.filters else ""
            raise InputError(f"there is no function {shown_name(name)!r}{filtered or _all_of(FUNCTIONS)}")
        args, named = self._arguments(node, FUNCTIONS[name], name, depth, given=1)
        call = _call("_function", nodes.Const(name), *args)
        return nodes.Call(call.node, call.args, named, None, None)

    def _arguments(
        self, node: Any, filter_: Filter, name: str, depth: int, *, given: int
    ) -> tuple[list[nodes.Expr], list[nodes.Keyword]]:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise InputError("{{ … }} has no * and ** in brackets")
        args = [self.translate(arg, depth) for arg in cast("list[nodes.Expr]", node.args)]
        named = cast("list[nodes.Keyword]", node.kwargs)
        try:
            inspect.signature(filter_).bind(*[None] * (given + len(args)), **{word.key: None for word in named})
        except TypeError:
            raise InputError(f"{name} takes {signature(filter_, skip=given)}") from None
        return args, [nodes.Keyword(word.key, self.translate(word.value, depth)) for word in named]


def _call(function: str, *args: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.Name(function, "load"), [*args], [], None, None)


def _all_of(names: Mapping[str, object] | list[str]) -> str:
    return f"; there are {', '.join(names)}" if len(names) <= DEEPEST else f"; there are {listed(names)}"


_RULES: Final[Mapping[type[nodes.Node], Callable[[_Translator, Any, int], nodes.Expr]]] = {
    nodes.Add: _Translator.binary,
    nodes.And: _Translator.binary,
    nodes.Call: _Translator.call,
    nodes.Compare: _Translator.compare,
    nodes.Concat: _Translator.concat,
    nodes.CondExpr: _Translator.condition,
    nodes.Const: _Translator.constant,
    nodes.Dict: _Translator.dict_,
    nodes.Div: _Translator.binary,
    nodes.Filter: _Translator.filter,
    nodes.FloorDiv: _Translator.binary,
    nodes.Getattr: _Translator.member,
    nodes.Getitem: _Translator.item,
    nodes.List: _Translator.list_,
    nodes.Mod: _Translator.binary,
    nodes.Mul: _Translator.binary,
    nodes.Neg: _Translator.unary,
    nodes.Not: _Translator.unary,
    nodes.Or: _Translator.binary,
    nodes.Pos: _Translator.unary,
    nodes.Sub: _Translator.binary,
    nodes.Test: _Translator.test,
}
_NOT_THERE: Final[Mapping[type[nodes.Node], str]] = {
    nodes.Pow: "**",
    nodes.Tuple: "comma outside brackets; write a list as [a, b]",
}
