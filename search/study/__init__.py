"""The study: what is proposed, what becomes of it, and what is stopped early."""
