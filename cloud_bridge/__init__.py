"""The bridge: takes masked conversations from devices and answers them through cloud providers."""
