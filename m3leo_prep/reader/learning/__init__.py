"""Chips for training: the dataset class, its order, its transforms and targets."""
