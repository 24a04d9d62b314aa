"""`{{ … }}` in a workflow: parsed once, rendered against the outputs of earlier nodes.

A value that is exactly one expression keeps its type; inside text it becomes text. The
syntax is Jinja2's, run in its immutable sandbox, with a smaller language:

- Expressions only: no statements, comments, `**`, methods or attributes. `a.b` is the field
  `b` of the object `a`, whatever it is called.
- What is not there is an error that says what is, everywhere. So `default` stands in for
  null alone. A key that may be absent is read with `| get('key')` or asked for with
  `'key' in object`; declared inputs that were left out are null.
- Null is refused where `render` is not told otherwise, at every depth, because it would
  silently drop a parameter; `| omit`, last in a value, leaves the key out on purpose.
- Text, numbers, lists and steps are bounded. Data is rendered once and never a template.
- Amounts are integers: `sum` and `group` add nothing else, `to_minor` never rounds.
"""

from __future__ import annotations

from spojit_stripe.expressions.compiled import Compiled, parse_value
from spojit_stripe.expressions.filters import FILTERS, FUNCTIONS, TESTS
from spojit_stripe.expressions.reading import Reference

__all__ = ["FILTERS", "FUNCTIONS", "TESTS", "Compiled", "Reference", "parse_value"]
