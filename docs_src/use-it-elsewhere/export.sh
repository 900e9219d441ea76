ftdemo export runs/mine --to adapter --out my-adapter
ftdemo export runs/mine --to merged --out my-model
ftdemo export runs/mine --to merged --out my-model-half --dtype bfloat16 --judge
