"""The pages of Rankscope: inputs, services, figures. Numbers come from core; nothing in core knows this package."""
