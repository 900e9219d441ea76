ftdemo evaluate runs/first
