"""Checkpoints of other families, one module each: their configuration, names and files.

- `links`: how a foreign tensor becomes one of ours, and back
- `tensors`: a file of weights, opened safely and read lazily
- `openai`, `open_clip`, `hugging_face`, `big_vision`: the families
"""
