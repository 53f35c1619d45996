"""Limits and budgets of a tenant over all instances, which share nothing but the app database.

Each instance leases a part of what is left in the shared document and spends it locally, so that the
database is asked once per chunk, not once per request. What is leased counts as used: together the
instances can't exceed a limit, and an idle instance keeps at most one chunk from the others.
"""
