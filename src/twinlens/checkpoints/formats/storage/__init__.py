"""Files of weights as NumPy arrays: recognised by their content, read lazily, never executed.

- `tensors`: opens any of them
- `arrays`: types, arrays over mapped files, and writing safetensors
- `torch_save`, `torchscript`: files of torch
- `safe_pickle`: reads pickles without calling what they name
- `zip_archive`: zips whose members are not compressed
"""
