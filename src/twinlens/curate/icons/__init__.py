"""The open icon corpus: image-text pairs from openly licensed icons, emoji and drawings.

- `sources`: the pinned packages and their cache
- `iconify`: icon sets in Iconify's format, and which may be used
- `clipart`: Debian's openclipart drawings
- `concepts`: what an image shows; emoji names in many languages; what is held out
- `names`: icon names made readable; brands and empty names
- `captions`: what is said of an image
- `render`: a drawing on a background, as WebP
- `config`: the settings of the builder
- `extras`: two more emoji styles, from images and from a font
- `tags`: keywords that icon sets publish
- `choice`, `choose_emoji`, `choose_icons`: what is in the corpus, and in which part
- `plan`: every image to draw, in order
- `sample`: one sample: the image, its words, where it comes from
- `build`: the shards, in parallel and resumable
- `card`: the data set card and the attribution
"""
