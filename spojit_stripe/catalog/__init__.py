"""The tools of a connector: descriptors from `schemas/`, looked up and held against a call.

Knows no connector. Descriptors are data; what cannot be said in one is Python elsewhere.
"""

from __future__ import annotations

from spojit_stripe.catalog.store import Catalog, schemas_dir
from spojit_stripe.catalog.tool import Annotations, Binding, Filter, Tool

__all__ = ["Annotations", "Binding", "Catalog", "Filter", "Tool", "schemas_dir"]
