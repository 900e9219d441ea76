ftdemo chat smollm2
