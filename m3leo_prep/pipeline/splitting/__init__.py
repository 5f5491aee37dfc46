"""Splits of a dataset: from what is asked to a policy, from the policy to columns, and checked again."""
