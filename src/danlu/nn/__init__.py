"""Floor 2: the materials of a model — sizes, layouts, masks, projections, attention and the parts around them."""
