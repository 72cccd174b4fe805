"""From what was found to the statuses that objects should have, as plain JSON.

Everything here is read off `Report`, `Attachments` and the program: a status says what diagnostics say, and nothing
that is served is called broken.
"""
