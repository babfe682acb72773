"""Fixed feature extractors: networks that were trained on ImageNet."""
