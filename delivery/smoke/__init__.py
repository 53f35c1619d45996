"""Whether a gateway works from end to end: the sandbox's, or that of an environment."""
