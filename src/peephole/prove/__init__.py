"""Prove: a rule in; a certificate out, saying which guarantees the rewrite keeps and which it gives up."""
