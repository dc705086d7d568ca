"""How runs stand, and what to do about them."""
