"""What faces are looked for in: photographs, videos, and what is known of them."""
