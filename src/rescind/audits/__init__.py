"""Audits: each tries to show that the forget set is still there, or says that it cannot tell."""
