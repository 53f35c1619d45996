"""The whole gateway on one machine: doubles for what others run, and the supervisor that starts it all."""
