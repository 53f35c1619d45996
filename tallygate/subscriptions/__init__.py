"""Follows Stripe: who is a customer, what plan they have and whether they have paid."""
