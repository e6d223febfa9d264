"""Who may call: tokens, bans, limits, and the interceptor that asks for all of them."""
