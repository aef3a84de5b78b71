"""From raw photographs and video to a training set: needs requirements-corpus.txt."""
