"""`eval.py export`: a model as ONNX, with a program that runs it without torch, measured beside it."""
