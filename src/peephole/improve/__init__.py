"""Improve: findings, certificates and consent in; a plan, then a running program out."""
