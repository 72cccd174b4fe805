"""Certificates that the controller makes for itself: for the API server's calls to the webhook, and for Envoys on xDS.

`authority` says what is due, from what there is and the time; `keeper` keeps it in Secrets and tells who uses it.
"""
