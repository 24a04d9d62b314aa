"""Stripe's own: how its API is spoken, read and judged."""
