"""How large regular expressions may be that the compiler makes for Envoys with our bootstrap."""

from typing import Final

INSTRUCTIONS_MAX: Final = 2000
"""RE2's measure, which follows an expression's length. Envoy takes 100 where the bootstrap does not say otherwise."""
