"""The specification in PyTorch."""

FRAMEWORK = "torch"
