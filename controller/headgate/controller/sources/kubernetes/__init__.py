"""Objects from the Kubernetes API.

`client` makes requests, `discovery` finds what is served, `watching` is the protocol of lists and watches (pure),
`reflector` keeps one collection up to date, `world` is what was read (pure), `source` is all of it together.
"""
