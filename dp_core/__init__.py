"""The science of Winnow in plain PyTorch: data, models, distillation, pruning, training and their analysis."""
