"""From usage in the warehouse to Stripe's meters: seal what is unsealed, send what is sealed, each once."""
