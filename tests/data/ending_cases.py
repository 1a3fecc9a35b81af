"""File names and what each is: the cases that names of images are judged by."""

READ = {
    "JPEG": ["a.jpg", "a.JPG", "a.Jpg", "a.jpeg", "a.JPEG", "a.jpe", "a.JPE", "a.jfif", "a.JFIF"],
    "PNG": ["a.png", "a.PNG", "two.dots.png", "v0.5.png"],
    "WEBP": ["a.webp", "a.WebP"],
    "GIF": ["a.gif", "a.GIF"],
    "BMP": ["a.bmp", "a.BMP"],
    "TIFF": ["a.tif", "a.TIF", "a.tiff", "a.TIFF"],
    "PPM": ["a.ppm", "a.PPM", "a.pgm", "a.pbm", "a.pnm"],
    "AVIF": ["a.avif", "a.AVIF"],
}
"""By Pillow's name of the format."""

OPTIONAL = ["a.heic", "a.HEIC", "a.heif", "a.hif", "a.HIF", "a.jxl", "a.JXL"]
"""Read where a decoder is installed."""

NOT_READ = {
    "camera raw": ["a.raw", "a.dng", "a.DNG", "a.cr2", "a.CR3", "a.nef", "a.arw", "a.orf", "a.rw2"],
    "SVG": ["a.svg", "a.SVG", "a.svgz"],
    "Photoshop": ["a.psd", "a.PSB"],
    "icon": ["a.ico", "a.cur"],
    "JPEG 2000": ["a.jp2", "a.j2k", "a.JPX"],
    "TGA": ["a.tga"],
    "OpenEXR": ["a.exr"],
    "Radiance HDR": ["a.hdr"],
}
"""By what a message calls them."""

HIDDEN = [
    "._a.jpg",
    "b/._a.jpg",
    ".a.jpg",
    "./._a.jpg",
    ".hidden/a.jpg",
    "b/.hidden/c/a.jpg",
    "__MACOSX/a.jpg",
    "__MACOSX/b/._a.jpg",
    "b/__MACOSX/a.jpg",
    "b\\__MACOSX\\a.jpg",
    ".DS_Store",
    "b/.DS_Store",
    "Thumbs.db",
    "thumbs.db",
    "desktop.ini",
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "$RECYCLE.BIN/a.jpg",
]

SHOWN = ["./a.jpg", "../a.jpg", "b/../a.jpg", "a..jpg", "b.c/a.jpg", "b/MACOSX/a.jpg", "_a.jpg"]
"""Names that look a little like hidden ones."""

NO_IMAGES = [
    "a.txt",
    "a",
    "jpg",
    "a.jpg.txt",
    "a.jpg~",
    "a.jpgx",
    "a.jpg/b",
    "a.json",
    "a.",
    "a.mp4",
]
