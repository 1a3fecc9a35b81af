"""Speed and memory of engines and peers, measured and reported."""
