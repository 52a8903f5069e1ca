"""The tests of `inside` run where Triton Inference Server is installed: test_inside.py starts
them.
"""

collect_ignore = ["inside"]
