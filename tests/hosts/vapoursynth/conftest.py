"""The tests of `inside` run in the environment of VapourSynth: test_inside.py starts them."""

collect_ignore = ["inside"]
