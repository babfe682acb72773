"""Fixed feature extractors: networks trained on ImageNet."""
