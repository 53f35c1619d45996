"""Stripe's billing as the gateway knows it: meters, subscriptions, invoices, events, on loopback.

It keeps Stripe's documented rules and checks every request against the parameter types of the installed
SDK. No money moves: the sandbox decides whether payments go through.
"""
