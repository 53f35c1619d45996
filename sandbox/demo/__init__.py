"""The demo: real clients, the whole system, and a proof that the invoice adds up."""
