"""What the gateway measures of itself, and how it tells a monitor."""
