"""`regionspot bench train`: what is promised about training's speed and memory."""
