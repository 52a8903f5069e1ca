"""Where a job reads and writes: folders of any file system, and the manifest in that of its
results.
"""
