ftdemo train full --examples 20 --epochs 30 --schedule constant --eval-every 3
ftdemo train full --examples 4 --epochs 1000 --max-steps 66
