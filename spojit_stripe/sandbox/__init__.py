"""An offline double of Stripe's API, over real HTTP. It is not Stripe.

    with sandbox() as s:
        client = stripe.StripeClient(s.secret_key, base_addresses={"api": s.url})

Well-known keys: `sk_test_sandbox_secret`, `rk_test_sandbox_restricted`, and the
live-shaped `sk_live_sandbox` and `rk_live_sandbox`, which see other data.
"""

from spojit_stripe.sandbox.errors import SandboxError
from spojit_stripe.sandbox.faults import Fault
from spojit_stripe.sandbox.handle import Sandbox, sandbox
from spojit_stripe.sandbox.requestlog import LoggedRequest
from spojit_stripe.sandbox.serve import serve

__all__ = ["Fault", "LoggedRequest", "Sandbox", "SandboxError", "sandbox", "serve"]
