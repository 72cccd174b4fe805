"""Counting the tokens of a prompt before it is sent: by the provider where it has a way, else here."""
