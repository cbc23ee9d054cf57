"""Browser components of the app."""

from app.components.rank_bars import error_percent, last_message, rank_bars, share_percent, unseen

__all__ = ["error_percent", "last_message", "rank_bars", "share_percent", "unseen"]
