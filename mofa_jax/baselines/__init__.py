"""What the paper compares itself with: decoders that are learned (Fig. 13 and 14)."""
