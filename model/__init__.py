"""One image in, masks out: networks, weights, predictors and the tracker. No threads, no sockets."""
