"""The command line. Nothing is decided here: commands choose calls and show what came of them.

Modules import nothing heavy at their top, so that help and completion start fast.
"""
