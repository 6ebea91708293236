"""The ideal kernel, the dispatcher and the interpreter of rules, as plain functions over terms or plain integers."""
