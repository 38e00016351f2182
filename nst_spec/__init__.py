"""The framework-neutral specification of neural style transfer: names, weights, formulas, recipes and the oracle."""
