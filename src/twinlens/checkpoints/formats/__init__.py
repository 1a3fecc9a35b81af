"""Checkpoints of other families: their configuration, names and files.

- `key_map`: converts foreign tensors to ours, and back
- `shapes`: sizes read from names and shapes
- `config_reader`: reads a foreign configuration, and refuses keys that it does not know
- `extras`: fields that only our configuration has, stored in foreign files
- `trainers`: finds weights under the names that trainers write
- `storage`: files of weights, opened safely and read lazily
- `openai`, `open_clip`, `hugging_face`, `big_vision`: the families
"""
