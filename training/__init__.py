"""What is needed to train a perceptual network without anybody's pictures."""
