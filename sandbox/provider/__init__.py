"""The model providers' double: OpenAI's and Anthropic's APIs with exact counts and a ledger of its own."""
