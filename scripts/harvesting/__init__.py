"""The parts of the scripts that make activations: text to windows, words and tasks, model to activations,
activations to a store or a labelled file."""


class HarvestError(Exception):
    """What the user can put right; printed as one line."""
