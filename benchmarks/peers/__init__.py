"""Speed and accuracy of Tiercast beside other engines, interleaved in one run (`make bench-peers`)."""
