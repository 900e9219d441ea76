ftdemo chat runs/first
