"""From a vector of features to a probability with its reasons."""
