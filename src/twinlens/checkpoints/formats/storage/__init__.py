"""Files of weights, opened by what is in them, read lazily, and run nowhere.

`tensors` opens any of them; `torchscript` reads OpenAI's archives, `inert_pickle` pickles without
calling what they name, and `stored_zip` archives whose members lie in the file as they are.
"""
