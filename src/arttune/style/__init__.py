"""What makes a painting art: limits that keep it near an artwork, losses that give it a style, and brushes."""
