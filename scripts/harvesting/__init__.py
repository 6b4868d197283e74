"""The parts of scripts/harvest.py: text to windows, model to activations, activations to a store."""


class HarvestError(Exception):
    """What the user can put right; printed as one line."""
