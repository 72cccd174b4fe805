"""From the world to the IR: every reference followed, every policy applied, every default filled in.

What cannot be resolved is reported and left out, and costs only itself.
"""
