"""A trained net as a folder for others: weights, model card, class names, ONNX."""
