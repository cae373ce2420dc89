"""TinyMAE: a masked autoencoder of EEG patches that knows where electrodes are."""
