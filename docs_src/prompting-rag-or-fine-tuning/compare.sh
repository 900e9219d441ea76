ftdemo compare tickets      # a few minutes on two cores
ftdemo compare handbook
