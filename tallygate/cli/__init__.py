"""``tallygate``: what operators do. Its packages are not deployed with the proxy and the functions."""
