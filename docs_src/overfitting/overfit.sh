ftdemo train full --examples 20 --epochs 30 --schedule constant --eval-every 3
