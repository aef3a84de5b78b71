"""What a run learns, how it steps, where it begins and what is seen of it."""
