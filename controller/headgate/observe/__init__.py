"""What `headgate run --observe` shows: what happens now, kept small, and the page that shows it.

`histogram`, `tally`, `shown` are pure: records in, one value to look at out. `feed` is the collector's side of it,
`page` the side of the gateway's admin port; `assets/` is what a browser gets.
"""
