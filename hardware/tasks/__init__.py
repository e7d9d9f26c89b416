"""What models do: one module for each task, named as Hugging Face names it."""
