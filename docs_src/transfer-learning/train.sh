ftdemo train classify --weights random --lr 0.0005           # from scratch
ftdemo train probe --out runs/probe                          # frozen MiniLM, a new head
ftdemo train classify                                        # MiniLM, all weights
ftdemo train classify --model runs/probe                     # probe first, then all weights
ftdemo evaluate runs/probe                                   # loss and scores, with 95% intervals
