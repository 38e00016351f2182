"""Pictures: from files, Pillow images and arrays to pixels (H, W, 3), RGB, float64 in [0, 1], and back to files.

Also the one resampler, and the record of a run that every written picture carries.
"""

from nst_spec.images.encoding import to_uint8, to_uint16
from nst_spec.images.reading import Picture, Source, read, sha256_of_pixels
from nst_spec.images.records import read_record
from nst_spec.images.resampling import fitted, resample
from nst_spec.images.writing import check_fits, check_writable, most_bits, preview_path, write

__all__ = [
    "Picture",
    "Source",
    "check_fits",
    "check_writable",
    "fitted",
    "most_bits",
    "preview_path",
    "read",
    "read_record",
    "resample",
    "sha256_of_pixels",
    "to_uint8",
    "to_uint16",
    "write",
]
