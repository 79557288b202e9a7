"""danlu (丹炉): a language model's whole life in one readable codebase."""
