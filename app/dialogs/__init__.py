"""What is not a page: open a model, share and export, about. Each stays open through full runs until it is closed."""

from app.dialogs.about import about
from app.dialogs.open_model import open_model
from app.dialogs.share import share

__all__ = ["about", "open_model", "share"]
