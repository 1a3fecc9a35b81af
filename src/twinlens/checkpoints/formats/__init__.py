"""Checkpoints of other families: their configuration, names and files.

- `links`: how a foreign tensor becomes one of ours, and back
- `sections`: a foreign configuration, of which every key is read or refused
- `extras`: what only our configuration has, kept in foreign files
- `storage`: files of weights, opened safely and read lazily
- `openai`, `open_clip`, `hugging_face`, `big_vision`: the families
"""
