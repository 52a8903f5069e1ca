"""Atomic outputs: they appear whole under their final name, or not at all, and replace nothing that
they may not replace, whatever happens meanwhile.
"""

from .locks import folder_lock
from .outputs import atomic_directory, atomic_file, make_folder, refuse_existing, writing
from .temporaries import dead_markers, marker, remove_leftovers

__all__ = [
    "atomic_directory",
    "atomic_file",
    "dead_markers",
    "folder_lock",
    "make_folder",
    "marker",
    "refuse_existing",
    "remove_leftovers",
    "writing",
]
