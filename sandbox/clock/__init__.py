"""The sandbox's clock and scheduler."""
