ftdemo record transfer                                       # every arm with three seeds
ftdemo train classify --model tiny --lr 0.001                # another source
ftdemo train classify --model smollm2                        # and another
