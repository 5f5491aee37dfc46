"""What describes a published dataset: card, metadata, previews, licence."""
