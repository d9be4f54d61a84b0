"""trainer: learns a folder of photographs with WGAN-GP and writes a checkpoint the bot can sample."""
