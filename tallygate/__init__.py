"""What the gateway's proxy, its functions, its command line and its sandbox share."""
