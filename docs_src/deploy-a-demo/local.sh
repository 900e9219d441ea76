ftdemo demo lora                       # one demo, at 127.0.0.1
ftdemo demo studio                     # all of them in one app
make demo                              # the site and all demos, at 127.0.0.1
