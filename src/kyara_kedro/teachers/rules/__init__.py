"""What the extractive teacher knows: rules only, no model anywhere in this package."""
